#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cli/embedding.h"

namespace vitower {

struct LocalOptions {
  std::string model;  // a checkpoint folder or "random:SHAPE"
  std::string device;
  std::optional<DType> dtype;        // of the tower; unset, or fp16 on a CPU: the checkpoint's own
  int threads = 0;                   // of the tower; 0: one for each core
  int preprocess_threads = 0;        // that decode and resize ahead of the tower; 0: one for each core
  int64_t max_batch_patches = 1024;  // budget of one forward pass; a larger image runs alone
  std::function<void(std::string_view)> log;
};

// Embeds in this process: threads decode and resize ahead while the tower runs on what is ready, in batches.
// Loads the model at once; fails as LoadEncoder does.
absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenLocal(const LocalOptions& options);

}  // namespace vitower
