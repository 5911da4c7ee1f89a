#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "model/encoder.h"

namespace vitower {

// What a TimedEncoder pretends to be. Whatever is not here is as in the 2B tower.
struct TimedEncoderOptions {
  std::string device = "puppet:0";
  int64_t out_hidden_size = 2048;
  int64_t deepstack_levels = 3;
  double us_per_patch = 1.3;                 // of a pass
  std::chrono::microseconds shortest{2000};  // pass
};

// An encoder that takes the time of an accelerator and next to none of the CPU: it sleeps for
// max(shortest, us_per_patch * patches) and hands out memory that was filled in earlier passes.
//
// Every row of every output is 0, 1, ..., 127, 0, 1, ... but the first row of an item, which begins with what tells the
// item: the first three bytes of its frames or patch values, then the number of the output (0: tokens, 1 + i: DeepStack
// level i). All values are exact in bf16, the dtype of the outputs.
std::unique_ptr<Encoder> MakeTimedEncoder(const TimedEncoderOptions& options);

}  // namespace vitower
