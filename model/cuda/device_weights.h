// private header
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/cuda/device_memory.h"
#include "model/cuda/kernels.h"
#include "model/tower_source.h"

namespace vitower {

// A tower's tensors in device memory, all of one element type, in one block. Scopes are named as in the checkpoint.

struct DeviceLinear {
  const void* weight;  // [out, in]
  const void* bias;    // [out]
  int64_t out;
  int64_t in;
};

struct DeviceNorm {
  const void* weight;
  const void* bias;
  int32_t width;
};

struct DeviceBlock {
  DeviceNorm norm1;
  DeviceLinear qkv;
  DeviceLinear proj;
  DeviceNorm norm2;
  DeviceLinear fc1;
  DeviceLinear fc2;
};

struct DeviceMerger {
  DeviceNorm norm;  // as wide as a patch, or as a token of four
  DeviceLinear fc1;
  DeviceLinear fc2;
};

class DeviceWeights final {
 public:
  // Copies every tensor to the current device, converting where the stored type is another, and lets go of it. Blocks
  // until all is there.
  DeviceWeights(TowerSource source, Element element);

  const DeviceLinear& patch_embed() const { return patch_embed_; }
  const void* position() const { return position_; }
  const std::vector<DeviceBlock>& blocks() const { return blocks_; }
  const DeviceMerger& merger() const { return merger_; }
  const std::vector<DeviceMerger>& deepstack() const { return deepstack_; }
  int64_t bytes() const { return bytes_; }  // of the tensors

 private:
  DeviceBuffer block_;
  int64_t bytes_ = 0;
  DeviceLinear patch_embed_{};
  const void* position_ = nullptr;
  std::vector<DeviceBlock> blocks_;
  DeviceMerger merger_{};
  std::vector<DeviceMerger> deepstack_;
};

}  // namespace vitower
