#include "model/cuda/device_weights.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"

namespace vitower {
namespace {

constexpr size_t kTensorAlignment = 256;

size_t AlignUp(size_t bytes) { return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment; }

int64_t CountOf(const TowerTensor& tensor) {
  int64_t count = 1;
  for (const int64_t side : tensor.shape) count *= side;
  return count;
}

Element StoredElement(const std::string& dtype) {
  return dtype == "F32" ? Element::kFp32 : dtype == "F16" ? Element::kFp16 : Element::kBf16;
}

// Copies tensors to their places, through a buffer on the device where they must be converted.
class Uploader final {
 public:
  explicit Uploader(Element element) : element_(element) {}

  void Copy(const TowerTensor& tensor, void* place) {
    const Element stored = StoredElement(tensor.dtype);
    if (stored == element_) {
      CheckCuda(cudaMemcpy(place, tensor.bytes.data(), tensor.bytes.size(), cudaMemcpyHostToDevice), "weights");
      return;
    }
    scratch_.Reserve(tensor.bytes.size());
    CheckCuda(cudaMemcpy(scratch_.data(), tensor.bytes.data(), tensor.bytes.size(), cudaMemcpyHostToDevice), "weights");
    CheckCuda(LaunchConvert(stored, scratch_.data(), element_, place, CountOf(tensor), nullptr), "convert weights");
    CheckCuda(cudaDeviceSynchronize(), "convert weights");
  }

 private:
  const Element element_;
  DeviceBuffer scratch_;
};

struct Placed {
  const void* data;
  std::vector<int64_t> shape;
};

class Directory final {
 public:
  void Add(const std::string& name, Placed placed) { tensors_.emplace(name, std::move(placed)); }

  const Placed& At(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw CudaError("tensor " + name + " is not there");
    return found->second;
  }
  DeviceLinear Linear(const std::string& scope) const {
    const Placed& weight = At(scope + ".weight");
    return {weight.data, At(scope + ".bias").data, weight.shape[0], weight.shape[1]};
  }
  DeviceNorm Norm(const std::string& scope) const {
    const Placed& weight = At(scope + ".weight");
    return {weight.data, At(scope + ".bias").data, static_cast<int32_t>(weight.shape[0])};
  }
  DeviceMerger Merger(const std::string& scope) const {
    return {Norm(scope + ".norm"), Linear(scope + ".linear_fc1"), Linear(scope + ".linear_fc2")};
  }
  DeviceBlock Block(const std::string& scope) const {
    return {Norm(scope + ".norm1"), Linear(scope + ".attn.qkv"),       Linear(scope + ".attn.proj"),
            Norm(scope + ".norm2"), Linear(scope + ".mlp.linear_fc1"), Linear(scope + ".mlp.linear_fc2")};
  }

 private:
  std::map<std::string, Placed> tensors_;
};

}  // namespace

DeviceWeights::DeviceWeights(TowerSource source, Element element) {
  size_t total = 0;
  for (const TowerTensor& tensor : source.tensors) {
    const auto bytes = static_cast<size_t>(CountOf(tensor) * ElementBytes(element));
    bytes_ += static_cast<int64_t>(bytes);
    total += AlignUp(bytes);
  }
  block_.Reserve(total);
  Directory directory;
  Uploader uploader(element);
  auto* place = static_cast<std::byte*>(block_.data());
  for (TowerTensor& tensor : source.tensors) {
    uploader.Copy(tensor, place);
    directory.Add(tensor.name, {place, tensor.shape});
    place += AlignUp(static_cast<size_t>(CountOf(tensor) * ElementBytes(element)));
    tensor.hold.reset();
  }
  patch_embed_ = directory.Linear("patch_embed.proj");
  position_ = directory.At("pos_embed.weight").data;
  for (int64_t i = 0; i < source.tower.depth; ++i) blocks_.push_back(directory.Block(absl::StrCat("blocks.", i)));
  merger_ = directory.Merger("merger");
  for (size_t i = 0; i < source.tower.deepstack_visual_indexes.size(); ++i) {
    deepstack_.push_back(directory.Merger(absl::StrCat("deepstack_merger_list.", i)));
  }
}

}  // namespace vitower
