#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/cuda/batch_rules.h"
#include "model/encoder.h"

namespace vitower {

// One intermediate of a forward pass, in fp32: called on the thread of Forward, `values` is borrowed.
// Names: "pixel_values" [n_patches, 1536], "patch_embed", "position", "block_0" ... [n_patches, hidden_size],
// "merger", "deepstack_0" ... [n_tokens, out_hidden_size].
using StageObserver =
    std::function<void(std::string_view name, int64_t rows, int64_t cols, absl::Span<const float> values)>;

struct LoadOptions {
  // A checkpoint folder as downloaded from the hub (config.json, preprocessor_config.json or processor_config.json,
  // safetensors), or "random:SHAPE" for random weights of a named shape (see make_checkpoint.h), which needs no file.
  std::string model;
  std::string device = "cpu";  // or "cuda:N": the GPU of that index; "cuda:0,cuda:1" or "cuda:all": several
  std::optional<DType> dtype;  // unset: the checkpoint's own. fp16 is refused on a CPU.
  int threads = 1;             // of the device's compute pool, above 0: best one for each core the process may use
  std::function<void(std::string_view message)> log;  // progress, from several threads at once; may be empty
  BatchRules batch_rules;                             // of GPUs
  StageObserver observer;  // for tests and debugging: makes every pass slower; empty in service
};

// Reads the tower's tensors (memory-mapped; nothing else of the checkpoint), checks every name, shape and dtype, and
// returns encoders ready for Forward. Refuses with FAILED_PRECONDITION or INVALID_ARGUMENT, naming the file or
// tensor, what it holds and what was expected. Blocks for as long as reading takes.
// One encoder for the CPU, two for each GPU, which share its weights: with a worker for each, the items of one batch
// travel while another is computed.
absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> LoadEncoders(const LoadOptions& options);

// The first of those, for who has one batch at a time.
absl::StatusOr<std::unique_ptr<Encoder>> LoadEncoder(const LoadOptions& options);

}  // namespace vitower
