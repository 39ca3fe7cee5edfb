"""Claimprint: finds claim pictures that were used before.

cli, serving   the command line; what `claimprint serve` runs. main: the ASGI application; parts: what it is made of
web            HTTP only: one file per resource, access, problem+json
jobs, sources  long work with a row in the job table, the keeper, the sweep; folders, archives and mail in bulk
ingest, search bytes + claim -> stored image; similar images by id or by picture. removal: deleting them
patterns       clusters, and where they occur; templates: making them. pattern_report: both on a page (report_page)
audit          all families of copies as a page, CSV, JSON lines or Parquet. pages: the HTML of both reports
screening      stored images -> matches and verdicts; recognition: -> the templates that they show
collection     the image table in memory: Hamming indexes of whole images and of segments, and how they catch up
regions        which regions of stored images look like those of a picture. partial_copies: which have a part of it
explanation    hashes drawn (grids), and how two pictures lie on each other (overlays)
catalog        the tables and all SQL; storage: picture bytes; imaging: safe decoding; embedded: PostgreSQL
matching       pure: distances -> kinds and verdicts
index          pure: exact Hamming range search; fingerprints: pure: pixels -> hashes. kernels: the loops of both
"""
