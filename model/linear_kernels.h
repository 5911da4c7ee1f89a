#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "model/isa_limits.h"

namespace vitower {

// What becomes of x w^T + bias.
enum class LinearEnd {
  kStore,      // rounded to the type of x
  kTanhGelu,   // gelu of it, tanh approximation, so rounded
  kErfGelu,    // exact gelu of it, so rounded
  kStoreFp32,  // kept in fp32
  kAddToFp32,  // added to what stands there, in fp32
};

// Some rows through one panel of columns.
struct LinearTask {
  const void* x;  // [rows, in]
  int64_t rows;   // 1 or more
  int64_t in;
  const uint32_t* panel;  // from LinearKernel::pack_panel
  const float* bias;      // [columns] of the panel
  int64_t columns;        // that exist: the last panel may have fewer than kernel.panel
  LinearEnd end;
  void* out;           // first row, first column of the panel
  int64_t out_stride;  // in elements
};

// A Linear for one instruction set and one type (fp32 or bf16): the weight packed in panels of columns, sums in fp32 in
// registers over the whole of `in`. Thread-safe on tasks that write different places.
struct LinearKernel {
  const char* name;
  KernelIsa isa;
  bool bf16;      // else fp32
  int64_t panel;  // columns in a panel
  int64_t pack;   // `in` must be a multiple of this

  // weight: [out, in]. Writes the panel's panel * in elements, zeros for columns behind `out`.
  void (*pack_panel)(const void* weight, int64_t out, int64_t in, int64_t first_column, uint32_t* packed);
  void (*run)(const LinearTask& task);

  bool supported() const { return ProcessorHas(isa); }
};

const LinearKernel& Avx2Linear();        // fp32
const LinearKernel& Avx512Linear();      // fp32
const LinearKernel& Avx512Bf16Linear();  // bf16

// All of them, the fastest first; none on other architectures than x86-64.
absl::Span<const LinearKernel* const> LinearKernels();

// Whether the processor multiplies tiles of bf16: then oneDNN, which knows how, is faster than any of these.
bool HasAmxBf16();

}  // namespace vitower
