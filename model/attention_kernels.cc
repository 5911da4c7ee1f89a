#include "model/attention_kernels.h"

namespace vitower {

absl::Span<const AttentionKernel* const> AttentionKernels() {
#if defined(__x86_64__)
  static const AttentionKernel* const kernels[] = {&Avx512Bf16Attention(), &Avx512Attention(), &Avx2Attention()};
  return kernels;
#else
  return {};
#endif
}

}  // namespace vitower
