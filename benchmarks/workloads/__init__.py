"""Workloads by name, one module each; those whose data pip installs come first."""

from benchmarks.workloads import (
    cancer_logistic,
    diabetes_linen,
    digits_bf16,
    digits_mlp,
    fashion_resnet,
    mnist_cnn,
    mnist_vit,
    sotu_lm,
    sotu_minilm,
    topics_lm,
)
from benchmarks.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (
        digits_mlp,
        digits_bf16,
        cancer_logistic,
        diabetes_linen,
        mnist_cnn,
        mnist_vit,
        topics_lm,
        fashion_resnet,
        sotu_lm,
        sotu_minilm,
    )
}
