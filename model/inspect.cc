#include "model/inspect.h"

#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/dtype_choice.h"
#include "model/guard.h"
#include "model/random_weights.h"

namespace vitower {
namespace {

// What `random:SHAPE` would draw.
absl::StatusOr<CheckpointSummary> SummariseShape(const std::string& shape) {
  const auto tower = NamedShape(shape);
  if (!tower.ok()) return tower.status();
  CheckpointSummary summary;
  summary.stored_dtype = CheckpointRecipe().dtype;
  for (const TensorSpec& spec : TowerTensors(*tower)) {
    ++summary.tensor_count;
    summary.parameter_count += spec.element_count();
  }
  summary.weight_bytes = summary.parameter_count * ByteSize(summary.stored_dtype);
  summary.tower = *tower;
  summary.image_processor = HubImageProcessor();
  summary.video_processor = HubVideoProcessor();
  return summary;
}

absl::StatusOr<CheckpointSummary> SummariseFolder(const std::string& folder) {
  const auto checkpoint = OpenCheckpoint(folder);
  if (!checkpoint.ok()) return checkpoint.status();
  const TowerSource& source = checkpoint->source;
  CheckpointSummary summary;
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
  summary.video_processor = source.video_processor;
  return summary;
}

absl::StatusOr<CheckpointSummary> Summarise(const std::string& model, std::optional<DType> dtype) {
  const auto shape = RandomShape(model);
  auto summary = shape ? SummariseShape(*shape) : SummariseFolder(model);
  if (!summary.ok()) return summary;
  if (const auto chosen = ChooseCpuDType(dtype, summary->stored_dtype); !chosen.ok()) {
    return absl::Status(chosen.status().code(), absl::StrCat(model, ": ", chosen.status().message()));
  }
  summary->folder = model;
  return summary;
}

}  // namespace

absl::StatusOr<CheckpointSummary> InspectCheckpoint(const std::string& model, std::optional<DType> dtype) {
  return Guarded(model, [&] { return Summarise(model, dtype); });
}

}  // namespace vitower
