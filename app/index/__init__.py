"""Pure: exact Hamming range search over 64-bit hashes.

protocol       what every engine answers, and the values it answers with
scan           the exhaustive popcount scan: the oracle, and the best engine at very large radii
bktree         the BK-tree over flat arrays
multi_index    multi-index hashing: tables of bands of bits
adaptive       all three over the same hashes, each query by the cheapest: the default; engines: all by name
wide           the scan over codes of up to 128 bits, in two words
pairs          self-joins: every pair within a distance, in steps
engine         what the engines share; tail, growth, verifiers: what is kept beside them
timing, peers  how long searches take, ours and other people's
live           an engine kept current: adds and removes findable at once, merged in the background
sets           sets of hashes by owner, kept current; set_contents, set_parts, set_tables, set_tail: what holds them
kernels        the compiled loops, those of the scan; tree_, band_, table_, join_, id_ and set_kernels: the others
"""
