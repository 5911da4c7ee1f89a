// private header
#pragma once

#include <cstdint>
#include <stdexcept>

#include "model/cuda/device_weights.h"
#include "model/cuda/gemm.h"
#include "model/encoder.h"

namespace vitower {

// A tower, device or setting that cannot be served: a wrong set-up, not a fault.
class UnfitTower final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Asks for the algorithms of every Linear of a tower, for batches of up to `rows` patches.
void PrepareGemms(const DeviceWeights& weights, int64_t rows, Gemm& gemm);

// A picture or clip of random levels.
Frames NoiseFrames(const GridThw& grid, const TowerConfig& tower);

int64_t CountNonfinite(const HostTensor& tensor);

// At least 1. Throws UnfitTower where there is no device, or its driver is too old.
int DeviceCount();

// Makes `device` the calling thread's. Throws UnfitTower where it is not there, or it or its driver is too old.
void UseDevice(int device);

}  // namespace vitower
