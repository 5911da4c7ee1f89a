#include "model/cuda/stage_marks.h"

#include "model/cuda/cuda_check.h"

namespace vitower {

StageMarks::~StageMarks() {
  for (cudaEvent_t event : events_) (void)cudaEventDestroy(event);
}

void StageMarks::Record(cudaStream_t stream) {
  if (used_ == events_.size()) {
    cudaEvent_t event = nullptr;
    CheckCuda(cudaEventCreate(&event), "cudaEventCreate");
    events_.push_back(event);
  }
  CheckCuda(cudaEventRecord(events_[used_++], stream), "cudaEventRecord");
}

void StageMarks::Begin(cudaStream_t stream) {
  used_ = 0;
  stages_.clear();
  Record(stream);
}

void StageMarks::Mark(Stage stage, cudaStream_t stream) {
  Record(stream);
  stages_.push_back(stage);
}

ForwardTimes StageMarks::Times() const {
  ForwardTimes times;
  for (size_t i = 0; i < stages_.size(); ++i) {
    float ms = 0;
    CheckCuda(cudaEventElapsedTime(&ms, events_[i], events_[i + 1]), "cudaEventElapsedTime");
    times.*stages_[i] +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double, std::milli>(ms));
  }
  return times;
}

}  // namespace vitower
