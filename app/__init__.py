"""Claimprint: finds claim pictures that were used before.

main, cli      the two doors: `create_app(settings)` and the command line
web            HTTP only: one file per resource, access, problem+json
jobs           long work with a row in the job table: reindex, rehash, the sweep
ingest, search bytes + claim -> stored image, matches, verdict; similar images by id or by picture
collection     the in-memory Hamming indexes of the image table, and how they catch up with it
catalog        the tables and all SQL; storage: picture bytes; imaging: safe decoding; embedded: PostgreSQL
matching       pure: distances -> kinds and verdicts
index          pure: exact Hamming range search; fingerprints: pure: pixels -> hashes
"""
