#include "model/cuda/warm_up.h"

#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"

namespace vitower {
namespace {

constexpr int kOldestMajor = 8;  // matrix instructions on bf16, asynchronous copies
constexpr int64_t kTokenPatches = 4;

}  // namespace

void PrepareGemms(const DeviceWeights& weights, int64_t rows, Gemm& gemm) {
  const DeviceBlock& block = weights.blocks().front();
  gemm.Prepare(weights.patch_embed(), Epilogue::kBias, rows);
  gemm.Prepare(block.qkv, Epilogue::kBias, rows);
  gemm.Prepare(block.proj, Epilogue::kBiasResidual, rows);
  gemm.Prepare(block.fc1, Epilogue::kBiasGelu, rows);
  gemm.Prepare(block.fc2, Epilogue::kBiasResidual, rows);
  gemm.Prepare(weights.merger().fc1, Epilogue::kBias, rows / kTokenPatches);
  gemm.Prepare(weights.merger().fc2, Epilogue::kBias, rows / kTokenPatches);
}

Frames NoiseFrames(const GridThw& grid, const TowerConfig& tower) {
  Frames frames;
  frames.grid = grid;
  frames.frame_count = grid.t == 1 ? 1 : grid.t * tower.temporal_patch_size;
  frames.height = grid.h * tower.patch_size;
  frames.width = grid.w * tower.patch_size;
  std::vector<uint8_t> levels(static_cast<size_t>(frames.frame_count * frames.height * frames.width * 3));
  std::mt19937 random(1);
  for (uint8_t& level : levels) level = static_cast<uint8_t>(random());
  frames.rgb = std::move(levels);
  return frames;
}

int64_t CountNonfinite(const HostTensor& tensor) {
  const int64_t count = tensor.rows * tensor.cols;
  const bool wide = tensor.dtype == DType::kFp32;
  // The exponent's bits are all set in what is not finite.
  const uint32_t exponent = wide ? 0x7F800000U : tensor.dtype == DType::kBf16 ? 0x7F80U : 0x7C00U;
  int64_t nonfinite = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, tensor.data.get() + i * ByteSize(tensor.dtype), static_cast<size_t>(ByteSize(tensor.dtype)));
    nonfinite += (bits & exponent) == exponent ? 1 : 0;
  }
  return nonfinite;
}

int DeviceCount() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    int driver = 0;
    (void)cudaDriverGetVersion(&driver);
    throw UnfitTower(absl::StrCat("no CUDA device can be used: ", cudaGetErrorString(error), " (driver for CUDA ",
                                  driver / 1000, ".", driver % 1000 / 10, ", built for ", CUDART_VERSION / 1000, ".",
                                  CUDART_VERSION % 1000 / 10, ")"));
  }
  return count;
}

void UseDevice(int device) {
  if (const int count = DeviceCount(); device < 0 || device >= count) {
    throw UnfitTower(absl::StrCat("device is \"cuda:", device, "\", and this host has ", count));
  }
  cudaDeviceProp properties{};
  CheckCuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  if (properties.major < kOldestMajor) {
    throw UnfitTower(absl::StrCat("device \"cuda:", device, "\" is a ", properties.name, " of compute capability ",
                                  properties.major, ".", properties.minor, ", expected ", kOldestMajor,
                                  ".0 (Ampere) or newer"));
  }
  CheckCuda(cudaSetDevice(device), "cudaSetDevice");
}

}  // namespace vitower
