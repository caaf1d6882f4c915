"""The workloads by name, one a file."""

from benchmarks.workloads import (
    cancer_logistic,
    diabetes_linen,
    digits_mlp,
    mnist_cnn,
    mnist_vit,
    topics_lm,
)
from benchmarks.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (digits_mlp, mnist_cnn, cancer_logistic, diabetes_linen, mnist_vit, topics_lm)
}
