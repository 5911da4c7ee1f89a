#pragma once

#include "server/plan.h"

namespace vitower {

inline constexpr ItemLimits kSourceLimits{/*max_image_pixels=*/100'000, /*max_item_patches=*/400,
                                          /*max_video_frames=*/1'000, /*max_video_seconds=*/60};

}  // namespace vitower
