import gc
import os

from hypothesis import settings

# Programs here are small and run a few times: nearly all of the time goes into compiling them, half
# of it into the fusion emitters, which make a context of their own for each kernel. Without fused
# multiply-adds, the same arithmetic gives the same bits in any program and on any machine.
_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_max_isa=AVX",
)
os.environ["XLA_FLAGS"] = " ".join((*_QUICK, os.environ.get("XLA_FLAGS", "")))

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("deterministic")


def pytest_collection_finish():
    """What was imported stays: the garbage collector need not walk over it again and again."""
    gc.collect()
    gc.freeze()
