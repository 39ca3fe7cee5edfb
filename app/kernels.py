"""Every compiled loop there is. The install step and the image build run `python -m app.kernels`.

That fills the cache: `NUMBA_CACHE_DIR` says where it is, `NUMBA_CPU_NAME` fixes the processor that the code is made
for. Importing the modules is all it takes.
"""

import app.fingerprints.keypoint_kernels
import app.fingerprints.pattern_kernels
import app.fingerprints.scale_space_kernels
import app.index.id_kernels
import app.index.join_kernels
import app.index.set_kernels
import app.index.table_kernels
import app.matching.alignment_kernels
import app.matching.candidate_kernels
import app.matching.cluster_kernels
import app.matching.overlap_kernels
import app.matching.place_kernels  # noqa: F401 - the others are imported by these
