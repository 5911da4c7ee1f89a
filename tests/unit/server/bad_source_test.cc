#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "server/source_check.h"
#include "tests/support/puppet_encoder.h"
#include "tests/support/test_items.h"
#include "tests/unit/server/source_limits.h"

namespace vitower {
namespace {

using testing::HasSubstr;

struct BadSource {
  std::string name;
  std::function<v1::Item()> make;
  std::string message;
};
class BadSources : public testing::TestWithParam<BadSource> {};

TEST_P(BadSources, AreRefusedByName) {
  ItemPlan plan;
  const absl::Status status = PlanSource(GetParam().make(), PuppetInfo(), kSourceLimits, plan);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

// An item of each source, changed.
template <typename Change>
v1::Item VideoClip(const Change& change) {
  v1::Item item = VideoItem(AnimatedGif(64, 64, Colours(5)));
  change(item);
  return item;
}
template <typename Change>
v1::Item SampledClip(const Change& change) {
  return VideoClip([&](v1::Item& item) { change(*item.mutable_video()->mutable_sampling()); });
}
template <typename Change>
v1::Item Images(const Change& change) {
  v1::Item item = FramesItem(64, 64, Colours(5));
  change(item);
  return item;
}
template <typename Change>
v1::Item Rgb(const Change& change) {
  v1::Item item = RgbItem(64, 64, Colours(5), 5);
  change(*item.mutable_rgb(), *item.mutable_preprocessing());
  return item;
}
template <typename Change>
v1::Item Patches(const Change& change) {
  v1::Item item = PatchesItem({2, 2, 4}, DType::kFp32);
  change(*item.mutable_patches(), *item.mutable_preprocessing());
  return item;
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinite = std::numeric_limits<double>::infinity();

const BadSource kBadSources[] = {
    {"EmptyVideo", [] { return VideoItem(""); }, "the field video.data is empty"},
    {"NoVideo", [] { return VideoItem(std::string(1000, 'x')); }, "the field video: "},
    {"LongVideo", [] { return VideoItem(AnimatedGif(32, 32, Colours(2), 6000)); }, "60"},
    {"VideoWithExif", [] { return VideoClip([](auto& i) { i.mutable_preprocessing()->set_apply_exif(false); }); },
     "preprocessing.apply_exif is set, and means nothing to the source video"},
    {"VideoWithBackground", [] { return VideoClip([](auto& i) { i.mutable_preprocessing()->mutable_background(); }); },
     "preprocessing.background is set, and means nothing to the source video"},
    {"RateOfNothing", [] { return SampledClip([](auto& s) { s.set_fps(0); }); },
     "video.sampling.fps is 0; it must be 1e-06 to 1000000"},
    {"RateBackwards", [] { return SampledClip([](auto& s) { s.set_fps(-1); }); }, "video.sampling.fps is -1;"},
    {"RateNan", [] { return SampledClip([](auto& s) { s.set_fps(kNan); }); }, "video.sampling.fps is nan;"},
    {"RateInfinite", [] { return SampledClip([](auto& s) { s.set_fps(kInfinite); }); }, "video.sampling.fps is inf;"},
    {"NumberAndRate",
     [] {
       return SampledClip([](auto& s) {
         s.set_fps(2);
         s.set_num_frames(4);
       });
     },
     "video.sampling.num_frames and video.sampling.fps are both set"},
    {"NumberAndMost",
     [] {
       return SampledClip([](auto& s) {
         s.set_max_frames(2);
         s.set_num_frames(4);
       });
     },
     "video.sampling.num_frames and video.sampling.max_frames are both set"},
    {"NoFramesWanted", [] { return SampledClip([](auto& s) { s.set_num_frames(0); }); },
     "video.sampling.num_frames is 0; it must be 1 to 1000 (--max-video-frames)"},
    {"TooManyFramesWanted", [] { return SampledClip([](auto& s) { s.set_num_frames(1001); }); },
     "video.sampling.num_frames is 1001; it must be 1 to 1000"},
    {"LeastOfNothing", [] { return SampledClip([](auto& s) { s.set_min_frames(0); }); },
     "video.sampling.min_frames is 0;"},
    {"MostOfNothing", [] { return SampledClip([](auto& s) { s.set_max_frames(0); }); },
     "video.sampling.max_frames is 0;"},
    {"LeastAboveMost",
     [] {
       return SampledClip([](auto& s) {
         s.set_min_frames(9);
         s.set_max_frames(8);
       });
     },
     "video.sampling.min_frames is 9, above max_frames, which is 8"},
    {"LeastAboveTheModelsMost", [] { return SampledClip([](auto& s) { s.set_min_frames(800); }); },
     "video.sampling.min_frames is 800, above max_frames, which is 768 (the model's own)"},
    {"EndBeforeStart",
     [] {
       return SampledClip([](auto& s) {
         s.set_start_seconds(1.5);
         s.set_end_seconds(1.5);
       });
     },
     "video.sampling.start_seconds is 1.5, not before end_seconds, which is 1.5"},
    {"StartBeforeTheClip", [] { return SampledClip([](auto& s) { s.set_start_seconds(-1); }); },
     "video.sampling.start_seconds is -1; it must be 0 to 1000000000"},
    {"EndNan", [] { return SampledClip([](auto& s) { s.set_end_seconds(kNan); }); },
     "video.sampling.end_seconds is nan;"},
    {"NoImages", [] { return Images([](auto& i) { i.mutable_frames()->clear_images(); }); },
     "the field frames.images is empty"},
    {"TooManyImages",
     [] {
       return Images([](auto& i) {
         for (int k = 0; k < 1000; ++k) i.mutable_frames()->add_images("image");
       });
     },
     "frames.images has 1005 images, above the limit of 1000 (--max-video-frames)"},
    {"FirstImageIsNone", [] { return Images([](auto& i) { i.mutable_frames()->set_images(0, "words"); }); },
     "the field frames.images[0]: "},
    {"FirstImageTooLarge",
     [] { return Images([](auto& i) { i.mutable_frames()->set_images(0, PngHeader(6000, 6000)); }); }, "100000"},
    {"FramesRate", [] { return Images([](auto& i) { i.mutable_frames()->set_fps(kNan); }); }, "frames.fps is nan;"},
    {"SecondsOfAListWithoutRate",
     [] { return Images([](auto& i) { i.mutable_frames()->mutable_sampling()->set_fps(1); }); },
     "frames.sampling goes by seconds, and frames.fps is not set"},
    {"StartAfterTheEnd",
     [] {
       return Images([](auto& i) {
         i.mutable_frames()->set_fps(1);
         i.mutable_frames()->mutable_sampling()->set_start_seconds(5);
       });
     },
     "the field frames.sampling: "},
    {"TooManyPatchesOfImages", [] { return FramesItem(64, 64, Colours(60)); },
     "the clip of 64 x 64 pixels, of which 60 frames are taken, becomes 30 x 4 x 4 = 480 patches, above the limit of "
     "400 (--max-item-patches)"},
    {"RgbWithoutSides", [] { return Rgb([](auto& r, auto&) { r.set_width(0); }); },
     "rgb.width x rgb.height is 0 x 64; both must be at least 1"},
    {"RgbTooLarge",
     [] {
       return Rgb([](auto& r, auto&) {
         r.set_width(4'000'000'000U);
         r.set_height(4'000'000'000U);
       });
     },
     "is 4000000000 x 4000000000 pixels, above the limit of 100000 (--max-image-pixels)"},
    {"RgbCutShort", [] { return Rgb([](auto& r, auto&) { r.mutable_data()->pop_back(); }); },
     "rgb.data has 61439 bytes instead of 3 for each of 5 x 64 x 64 pixels"},
    {"RgbOfMoreFrames", [] { return Rgb([](auto& r, auto&) { r.set_frames(4'000'000'000U); }); },
     "rgb.data has 61440 bytes instead of 3 for each of 4000000000 x 64 x 64 pixels"},
    {"RgbOfTooManyFrames", [] { return RgbItem(1, 1, Colours(1001), 1001); },
     "rgb.frames is 1001, above the limit of 1000 (--max-video-frames)"},
    {"RgbWithExif", [] { return Rgb([](auto&, auto& p) { p.set_apply_exif(true); }); },
     "preprocessing.apply_exif is set, and means nothing to the source rgb"},
    {"RgbRate", [] { return Rgb([](auto& r, auto&) { r.set_fps(0); }); }, "rgb.fps is 0;"},
    {"SecondsOfRgbWithoutRate",
     [] {
       return Rgb([](auto& r, auto&) {
         r.mutable_sampling()->set_num_frames(2);
         r.mutable_sampling()->set_start_seconds(1);
       });
     },
     "rgb.sampling goes by seconds, and rgb.fps is not set"},
    {"ThinRgb", [] { return RgbItem(1, 201, {{}}, 0); }, "200"},
    {"RateOfAnImage",
     [] {
       return Rgb([](auto& r, auto&) {
         r.set_height(320);
         r.set_frames(0);
         r.set_fps(2);
       });
     },
     "rgb.fps is set, and rgb.frames is 0"},
    {"SamplingOfAnImage",
     [] {
       return Rgb([](auto& r, auto&) {
         r.set_height(320);
         r.set_frames(0);
         r.mutable_sampling();
       });
     },
     "rgb.sampling is set, and rgb.frames is 0"},
    {"NotAlignedRgb",
     [] {
       v1::Item item = RgbItem(64, 40, Colours(2), 2);
       item.mutable_preprocessing()->set_do_resize(false);
       return item;
     },
     "32"},
    {"PatchesWithoutDtype", [] { return Patches([](auto& p, auto&) { p.clear_dtype(); }); },
     "patches.dtype is not set"},
    {"PatchesOfUnknownDtype", [] { return Patches([](auto& p, auto&) { p.set_dtype(static_cast<v1::DType>(9)); }); },
     "patches.dtype has the unknown value 9"},
    {"PatchesWithoutGrid", [] { return Patches([](auto& p, auto&) { p.clear_grid_thw(); }); },
     "patches.grid_thw is 0 x 0 x 0; all three must be at least 1"},
    {"OddGrid", [] { return Patches([](auto& p, auto&) { p.mutable_grid_thw()->set_w(3); }); },
     "patches.grid_thw is 2 x 2 x 3; h and w must be multiples of 2 (spatial_merge_size)"},
    {"HugeGrid",
     [] {
       return Patches([](auto& p, auto&) {
         p.mutable_grid_thw()->set_t(4'294'967'295U);
         p.mutable_grid_thw()->set_h(4'294'967'294U);
         p.mutable_grid_thw()->set_w(4'294'967'294U);
       });
     },
     "patches, above the limit of 400 (--max-item-patches)"},
    {"ASliceTooMany",
     [] {
       return PatchesItem({101, 2, 2}, DType::kFp32);
     },
     "patches.grid_thw is 101 x 2 x 2 patches, above the limit of 400 (--max-item-patches)"},
    {"PatchesCutShort", [] { return Patches([](auto& p, auto&) { p.mutable_data()->resize(1000); }); },
     "patches.data has 1000 bytes instead of 16 rows of 1536 fp32 values"},
    {"PatchesOfTheOtherDtype", [] { return Patches([](auto& p, auto&) { p.set_dtype(v1::DTYPE_BF16); }); },
     "patches.data has 98304 bytes instead of 16 rows of 1536 bf16 values"},
    {"PatchesWithBackground", [] { return Patches([](auto&, auto& p) { p.mutable_background(); }); },
     "preprocessing.background is set, and means nothing to the source patches"},
    {"PatchesWithBounds", [] { return Patches([](auto&, auto& p) { p.set_min_pixels(1); }); },
     "preprocessing.min_pixels is set, and means nothing to the source patches"},
    {"PatchesNotResized", [] { return Patches([](auto&, auto& p) { p.set_do_resize(false); }); },
     "preprocessing.do_resize is set, and means nothing to the source patches"},
};
INSTANTIATE_TEST_SUITE_P(All, BadSources, testing::ValuesIn(kBadSources),
                         [](const auto& bad) { return bad.param.name; });

}  // namespace
}  // namespace vitower
