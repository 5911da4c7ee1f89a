// private header
#pragma once

#include <cstdint>

namespace vitower {

enum class VectorIsa : uint8_t { kBase, kAvx2, kAvx512 };

// What kernels of our own may use: what torch was told (ATEN_CPU_CAPABILITY: avx512, avx2, default) and, of
// instructions on bf16, what oneDNN was told (ONEDNN_MAX_CPU_ISA), so that the two limit every part of the tower alike.
// The processor may have less. Reads the environment anew each time.
struct IsaLimits {
  VectorIsa vector;
  bool bf16;  // AVX512-BF16
  bool amx;   // AMX-BF16
};
IsaLimits GetIsaLimits();

// What a kernel of our own is compiled for. Each has what those before it have.
enum class KernelIsa : uint8_t { kAvx2, kAvx512, kAvx512Bf16 };

bool Allows(const IsaLimits& limits, KernelIsa isa);
bool ProcessorHas(KernelIsa isa);

}  // namespace vitower
