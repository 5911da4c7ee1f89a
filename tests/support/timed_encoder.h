#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/encoder.h"

namespace vitower {

// What a timed device pretends to be. Whatever is not here is as in the 2B tower.
struct TimedEncoderOptions {
  std::string device = "puppet:0";
  int64_t out_hidden_size = 2048;
  int64_t deepstack_levels = 3;
  double us_per_patch = 1.3;                 // of a pass
  std::chrono::microseconds shortest{2000};  // pass
  std::chrono::microseconds upload{0};       // of a batch, before its pass
};

// The encoders of one device that takes the time of an accelerator and next to none of the CPU: it computes one pass at
// a time, for max(shortest, us_per_patch * patches), in the order in which they come. Where it has two encoders the
// batch of one is uploaded while that of the other is computed, as on a GPU: what a pass waits, and what of its upload
// is hidden by that, is its `behind`. An encoder sleeps until its pass is over and hands out memory that was filled in
// earlier passes.
//
// Every row of every output is 0, 1, ..., 127, 0, 1, ... but the first row of an item, which begins with what tells the
// item: the first three bytes of its frames or patch values, then the number of the output (0: tokens, 1 + i: DeepStack
// level i). All values are exact in bf16, the dtype of the outputs.
std::vector<std::unique_ptr<Encoder>> MakeTimedDevice(const TimedEncoderOptions& options, int64_t encoders);

}  // namespace vitower
