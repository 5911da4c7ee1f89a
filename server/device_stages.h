#pragma once

#include <array>
#include <chrono>
#include <utility>

#include "model/encoder.h"
#include "server/stage.h"

namespace vitower {

// Where the time of each device stage stands in those of a pass, in the order in which they follow each other.
inline constexpr std::array<std::pair<Stage, std::chrono::nanoseconds ForwardTimes::*>, 6> kDeviceStages = {{
    {Stage::kUpload, &ForwardTimes::upload},
    {Stage::kPatchEmbed, &ForwardTimes::patch_embed},
    {Stage::kPosition, &ForwardTimes::position},
    {Stage::kBlocks, &ForwardTimes::blocks},
    {Stage::kMerger, &ForwardTimes::merger},
    {Stage::kDownload, &ForwardTimes::download},
}};

}  // namespace vitower
