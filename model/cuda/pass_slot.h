// private header
#pragma once

#include <chrono>
#include <optional>

#include "model/cuda/cuda_event.h"
#include "model/cuda/device_memory.h"
#include "model/cuda/stage_marks.h"

namespace vitower {

// What a pass in flight has to itself: there are two, so that the items of one travel while the other is computed.
// All else (activations, outputs, workspaces) they share, in the order of the compute stream.
struct PassSlot {
  using TimePoint = std::chrono::steady_clock::time_point;

  PinnedBuffer staging;   // the plan, then the items' bytes
  DeviceBuffer uploaded;  // the same on the device
  CudaEvent arrived;      // all is in `uploaded`
  CudaEvent computed;
  CudaEvent done;  // the outputs are in host memory
  StageMarks marks;
  TimePoint enqueued_at;
  std::optional<TimePoint> idle_since;  // the device, when this pass was enqueued; unset: an earlier one still ran
};

}  // namespace vitower
