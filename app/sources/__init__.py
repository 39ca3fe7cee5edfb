"""Bulk intake: where pictures come from, and how many of them go in.

inputs        what the user named -> `Input`: files on this machine; objects behind addresses
containers    an input -> `Found` pictures, through archives, messages and PDFs in any order, within `Limits`
kinds         what a file is, by its content; members, found: what the readers of containers hand on
zips, tars    archives; letters, outlook: messages; pdf, and what its process runs: pdf_process, pdf_pictures
claim_rules   whose a picture is: by folders, names, subjects or a table
pipeline      reads, looks up and fingerprints side by side: room, patience, taken. bulk: stores what comes out
journal       what became of every picture, for people and for the next run
"""
