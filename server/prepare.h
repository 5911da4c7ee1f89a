// private header
#pragma once

#include "absl/status/status.h"
#include "server/clock.h"
#include "server/job.h"

namespace vitower {

// Makes of an item's bytes what the tower takes: decodes, samples, resizes or just takes over, as the plan says. Takes
// the item out of its call; sets job.input, job.clip, the plan's grid, and the times of the stages decode and resize,
// which begin at `began_at` and leave no gap, the freeing of memory included. A source that has nothing to decode or to
// resize does not reach the stage. Blocks for its own computing only. Errors as of preprocess/, naming the field;
// CANCELLED where the job is gone, which the decoding of a clip looks at on its way.
absl::Status Prepare(Job& job, Clock& clock, TimePoint began_at);

}  // namespace vitower
