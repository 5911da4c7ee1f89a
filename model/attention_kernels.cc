#include "model/attention_kernels.h"

namespace vitower {

absl::Span<const AttentionKernel* const> AttentionKernels() {
  static const AttentionKernel* const kernels[] = {&Avx512Bf16Attention(), &Avx512Attention(), &Avx2Attention()};
  return kernels;
}

}  // namespace vitower
