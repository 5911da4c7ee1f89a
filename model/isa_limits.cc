#include "model/isa_limits.h"

#include <ATen/Version.h>

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

namespace vitower {
namespace {

bool IsOneOf(std::string_view value, std::initializer_list<std::string_view> list) {
  for (const std::string_view entry : list) {
    if (value == entry) return true;
  }
  return false;
}

}  // namespace

IsaLimits GetIsaLimits() {
  const std::string torch = at::get_cpu_capability();
  const char* variable = std::getenv("ONEDNN_MAX_CPU_ISA");
  const std::string_view onednn = variable == nullptr ? "" : variable;
  IsaLimits limits{};
  limits.vector = torch.starts_with("AVX512") ? VectorIsa::kAvx512
                  : torch.starts_with("AVX2") ? VectorIsa::kAvx2
                                              : VectorIsa::kBase;
  limits.bf16 =
      limits.vector == VectorIsa::kAvx512 &&
      !IsOneOf(onednn, {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"});
  limits.amx = limits.bf16 && !IsOneOf(onednn, {"AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"});
  return limits;
}

bool Allows(const IsaLimits& limits, KernelIsa isa) {
  switch (isa) {
    case KernelIsa::kAvx2:
      return limits.vector >= VectorIsa::kAvx2;
    case KernelIsa::kAvx512:
      return limits.vector >= VectorIsa::kAvx512;
    case KernelIsa::kAvx512Bf16:
      return limits.vector >= VectorIsa::kAvx512 && limits.bf16;
  }
  return false;
}

bool ProcessorHas([[maybe_unused]] KernelIsa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case KernelIsa::kAvx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    case KernelIsa::kAvx512:
      return ProcessorHas(KernelIsa::kAvx2) && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0;
    case KernelIsa::kAvx512Bf16:
      return ProcessorHas(KernelIsa::kAvx512) && __builtin_cpu_supports("avx512bf16") != 0;
  }
#endif
  return false;
}

}  // namespace vitower
