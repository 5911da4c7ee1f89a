#include "model/inspect.h"

#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/dtype_choice.h"
#include "model/guard.h"

namespace vitower {
namespace {

absl::StatusOr<CheckpointSummary> Summarise(const std::string& folder, std::optional<DType> dtype) {
  const auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  const TowerSource& source = checkpoint->source;
  if (const auto chosen = ChooseCpuDType(dtype, source.dtype); !chosen.ok()) {
    return absl::Status(chosen.status().code(), absl::StrCat(folder, ": ", chosen.status().message()));
  }
  CheckpointSummary summary;
  summary.folder = folder;
  summary.prefix = checkpoint->prefix;
  summary.files = checkpoint->files;
  summary.stored_dtype = source.dtype;
  summary.tensor_count = static_cast<int64_t>(source.tensors.size());
  for (const TowerTensor& tensor : source.tensors) {
    const auto bytes = static_cast<int64_t>(tensor.bytes.size());
    summary.weight_bytes += bytes;
    summary.parameter_count += bytes / (tensor.dtype == "F32" ? 4 : 2);
  }
  summary.tower = source.tower;
  summary.image_processor = source.image_processor;
  return summary;
}

}  // namespace

absl::StatusOr<CheckpointSummary> InspectCheckpoint(const std::string& folder, std::optional<DType> dtype) {
  return Guarded(folder, [&] { return Summarise(folder, dtype); });
}

}  // namespace vitower
