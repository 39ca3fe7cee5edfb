"""Pure distances between fingerprints -> kinds of match. No SQL, no HTTP, no pixels."""
