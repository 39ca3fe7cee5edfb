"""Pure: normalised pixels -> hashes. No SQL, no HTTP, no settings.

whole          every hash of one picture, in all eight orientations: `fingerprint(image)`; value: what it is
orientation    the eight orientations, what turns a picture, what turns it back
reduction      one grey picture -> the small pictures that the hashes are computed from, in eight orientations
average, perceptual, difference, wavelet, daubechies   small pictures -> bits, one hash function each
pattern        texture of a surface, of the whole picture and in tiles; pattern_kernels: its compiled loops
colour         shares of colours, as a code that can be compared
segments       regions of a picture, each with its hash, that survive cropping
bits           bits -> unsigned 64-bit words
information    whether a picture has anything for the hashes to hold on to; page: whether it is text on white
"""
