"""Pure: normalised pixels -> hashes. No SQL, no HTTP, no settings.

whole          the whole-image hashes of one picture, in all eight orientations: `fingerprint(image)`
orientation    the eight orientations, what turns a picture, what turns it back
reduction      one grey picture -> the small pictures that the hashes are computed from, in eight orientations
average, perceptual, difference, wavelet   small pictures -> bits, one hash function each
bits           bits -> unsigned 64-bit words
information    whether a picture has anything for the hashes to hold on to
"""
