"""Measurements, each side by side in one run with what it is compared to.

upload       uploads of camera files over HTTP, their bare decode, and the naive way
collection   with 150,000 images stored: start, upload overhead, `/similar`
index        the Hamming engines, ours and other people's; live_index: beside writers; scale: to 100 million
sets         the index over sets of hashes: all keypoints of a picture among those of many images
startup      how fast a stored collection is in memory
throughput   uploads a second; hostile: beside hostile files
fingerprints what they cost; robustness: which copies they find
edited       which edited copies the whole rule finds, drawn by edited_plot; overlaps: by keypoints alone
suite        the 76 edits, by family in suite_*
verifier     what the 256-bit verifier takes and refuses, by radius
service      the service as a subprocess, and an HTTP client
rows         drawn images for the table
pictures     real and drawn picture files
report       medians and tables
"""
