#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cli/clip_flags.h"
#include "cli/image_flags.h"
#include "cli/inputs.h"
#include "cli/output_files.h"
#include "cli/parse.h"
#include "cli/prepare.h"
#include "preprocess/frames.h"

namespace vitower {

// One file's answer, wherever it was computed.
struct Embedding {
  GridThw grid;
  int64_t token_count = 0;
  std::vector<NamedTensor> tensors;                           // as TensorNames lists them
  std::vector<std::pair<std::string, double>> stage_seconds;  // as this item lived them, in their order
  std::optional<ClipSummary> clip;                            // unset: an image
};

// Which model computed it: written beside every result.
struct ModelIdentity {
  std::string name;
  std::string fingerprint;
  size_t deepstack_levels = 0;
};

// What to compute for every file.
struct EmbedChoices {
  ImageFlags image;
  ClipFlags clip;
  WantedOutputs outputs;
  std::optional<DType> dtype;  // unset: the tower's own
};

// The DeepStack levels `wanted` asks for. INVALID_ARGUMENT for a level the model does not have, or when nothing is
// left.
absl::StatusOr<std::vector<uint32_t>> WantedLevels(const WantedOutputs& wanted, const ModelIdentity& model);

// The tensors of every result, in the order in which they are written: outputs, then "grid_thw".
std::vector<std::string> TensorNames(const WantedOutputs& wanted, const std::vector<uint32_t>& levels);

// What is written beside a clip's result, as JSON values: "frame_indices", "padded" and, where the frame rate is known,
// "source_fps" and "slice_timestamps" (seconds). Nothing for an image.
std::map<std::string, std::string> ClipMetadata(const std::optional<ClipSummary>& clip);

NamedTensor GridTensor(const std::string& name, const GridThw& grid, const std::vector<int64_t>& shape);

// Gets the answers one by one, in the order in which they are done. Not OK: stop.
using EmbeddingSink = std::function<absl::Status(size_t file_index, absl::StatusOr<Embedding> embedding)>;

// Embeds files: in this process, or by a server.
class EmbeddingSource {
 public:
  virtual ~EmbeddingSource() = default;

  virtual const ModelIdentity& model() const = 0;

  // Hands an answer for every file to `sink`, on the calling thread; a bad file's answer is its status. Fails where the
  // run could not go on: files without an answer are then left.
  virtual absl::Status Run(absl::Span<const InputFile> files, const EmbedChoices& choices,
                           const EmbeddingSink& sink) = 0;
};

}  // namespace vitower
