#include "model/linear_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vitower {

absl::Span<const LinearKernel* const> LinearKernels() {
#if defined(__x86_64__)
  static const LinearKernel* const kernels[] = {&Avx512Bf16Linear(), &Avx512Linear(), &Avx2Linear()};
  return kernels;
#else
  return {};
#endif
}

bool HasAmxBf16() {
#if defined(__x86_64__)
  constexpr unsigned kAmxBf16 = 1U << 22;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0;
#else
  return false;
#endif
}

}  // namespace vitower
