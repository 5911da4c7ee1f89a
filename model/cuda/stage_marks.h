// private header
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "model/encoder.h"

namespace vitower {

// Marks on a stream between the stages of one forward pass: each mark charges the time since the one before it. Events
// are made once and used again.
class StageMarks final {
 public:
  using Stage = std::chrono::nanoseconds ForwardTimes::*;

  StageMarks() = default;
  StageMarks(const StageMarks&) = delete;
  StageMarks& operator=(const StageMarks&) = delete;
  ~StageMarks();

  void Begin(cudaStream_t stream);
  void Mark(Stage stage, cudaStream_t stream);
  // REQUIRES: all marks were reached (their streams were waited for).
  ForwardTimes Times() const;

 private:
  void Record(cudaStream_t stream);

  std::vector<cudaEvent_t> events_;
  std::vector<Stage> stages_;
  size_t used_ = 0;
};

}  // namespace vitower
