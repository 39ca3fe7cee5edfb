"""Measurements, each side by side in one run with what it is compared to.

upload       uploads of camera files over HTTP, their bare decode, and the naive way
collection   with 150,000 images stored: start, upload overhead, `/similar`
bktree       one search over random hashes, engine beside engine
verifier     what the 256-bit verifier takes and refuses, by radius
service      the service as a subprocess, and an HTTP client
rows         drawn images for the table
pictures     real and drawn picture files
report       medians and tables
"""
