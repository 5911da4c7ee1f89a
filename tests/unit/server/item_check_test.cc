#include "server/item_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "tests/support/puppet_encoder.h"
#include "tests/support/test_images.h"

namespace vitower {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr ItemLimits kLimits{/*max_image_pixels=*/1'000'000, /*max_item_patches=*/400};

v1::Item ItemOf(const std::string& image) {
  v1::Item item;
  item.set_image(image);
  return item;
}
v1::Item Picture() { return ItemOf(SolidBmp(64, 96, {10, 20, 30})); }

absl::StatusOr<ItemPlan> Check(const v1::Item& item) { return CheckItem(item, PuppetInfo(DType::kBf16), kLimits); }

TEST(CheckItem, PlansWhatTheModelDoesByDefault) {
  const auto plan = Check(Picture());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->grid, (GridThw{1, 6, 4}));
  EXPECT_EQ(plan->target, (ImageSize{96, 64}));
  EXPECT_TRUE(plan->outputs.tokens);
  EXPECT_THAT(plan->outputs.deepstack, ElementsAre(true, true));
  EXPECT_FALSE(plan->pooled);
  EXPECT_EQ(plan->dtype, DType::kBf16);
  EXPECT_EQ(plan->priority, Priority::kNormal);
  EXPECT_EQ(plan->reply_bytes, kResultOverheadBytes + 3 * 6 * 8 * 2);  // three outputs of 6 tokens of 8 bf16 values
  EXPECT_EQ(plan->image_options.min_pixels, 1024);
  EXPECT_TRUE(plan->image_options.apply_exif);
}

TEST(CheckItem, PlansWhatIsAskedFor) {
  v1::Item item = Picture();
  item.mutable_outputs()->set_pooled(true);
  item.mutable_outputs()->add_deepstack_levels(1);
  item.mutable_outputs()->add_deepstack_levels(1);
  item.mutable_outputs()->set_dtype(v1::DTYPE_FP32);
  item.set_priority(v1::PRIORITY_LOW);
  item.mutable_preprocessing()->set_min_pixels(128 * 128);
  item.mutable_preprocessing()->mutable_background()->set_green(255);
  const auto plan = Check(item);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->outputs.tokens);
  EXPECT_THAT(plan->outputs.deepstack, ElementsAre(false, true));
  EXPECT_TRUE(plan->pooled);
  EXPECT_EQ(plan->reply_bytes, kResultOverheadBytes + (plan->grid.patches() / 4 + 1) * 8 * 4);
  EXPECT_EQ(plan->priority, Priority::kLow);
  EXPECT_GE(plan->target.height * plan->target.width, 128 * 128);
  EXPECT_EQ(*plan->image_options.background, (std::array<uint8_t, 3>{0, 255, 0}));
}

TEST(CheckItem, AHugeMaximumMeansNone) {
  v1::Item item = Picture();
  item.mutable_preprocessing()->set_max_pixels(std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(Check(item).ok());
}

struct BadItem {
  std::string name;
  std::function<void(v1::Item&)> spoil;
  absl::StatusCode code;
  std::string message;
};
class BadItems : public testing::TestWithParam<BadItem> {};

TEST_P(BadItems, AreRefusedByName) {
  v1::Item item = Picture();
  GetParam().spoil(item);
  const auto plan = Check(item);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), GetParam().code);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr(GetParam().message));
}

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kNotBuilt = absl::StatusCode::kUnimplemented;
const BadItem kBadItems[] = {
    {"NoSource", [](auto& item) { item.clear_source(); }, kInvalid, "no source"},
    {"LongId", [](auto& item) { item.set_id(std::string(1025, 'x')); }, kInvalid,
     "the field id has 1025 bytes, above the limit of 1024"},
    {"EmptyImage", [](auto& item) { item.set_image(""); }, kInvalid, "the field image is empty"},
    {"Text", [](auto& item) { item.set_image("hello world, this is text"); }, kInvalid, ""},
    {"Video", [](auto& item) { item.mutable_video(); }, kNotBuilt, "the field video"},
    {"FrameList", [](auto& item) { item.mutable_frames(); }, kNotBuilt, "the field frames"},
    {"Rgb", [](auto& item) { item.mutable_rgb(); }, kNotBuilt, "the field rgb"},
    {"Patches", [](auto& item) { item.mutable_patches(); }, kNotBuilt, "the field patches"},
    {"UnknownDtype", [](auto& item) { item.mutable_outputs()->set_dtype(static_cast<v1::DType>(9)); }, kInvalid,
     "outputs.dtype has the unknown value 9"},
    {"UnknownPriority", [](auto& item) { item.set_priority(static_cast<v1::Priority>(7)); }, kInvalid,
     "priority has the unknown value 7"},
    {"LevelTooHigh", [](auto& item) { item.mutable_outputs()->add_deepstack_levels(3); }, kInvalid,
     "outputs.deepstack_levels has 3; the model has levels 0 to 1"},
    {"ZeroMinimum", [](auto& item) { item.mutable_preprocessing()->set_min_pixels(0); }, kInvalid,
     "preprocessing.min_pixels is 0; it must be at least 1"},
    {"MinimumAboveMaximum",
     [](auto& item) {
       item.mutable_preprocessing()->set_min_pixels(5000);
       item.mutable_preprocessing()->set_max_pixels(4000);
     },
     kInvalid, "preprocessing.min_pixels is 5000, above max_pixels, which is 4000"},
    {"MaximumBelowTheModelsMinimum", [](auto& item) { item.mutable_preprocessing()->set_max_pixels(1000); }, kInvalid,
     "preprocessing.min_pixels is 1024 (the model's own), above max_pixels, which is 1000"},
    {"Channel", [](auto& item) { item.mutable_preprocessing()->mutable_background()->set_blue(256); }, kInvalid,
     "preprocessing.background.blue is 256; a channel is 0 to 255"},
    {"TooManyPatches", [](auto& item) { item.set_image(SolidBmp(352, 320, {})); }, kInvalid,
     "the image of 352 x 320 pixels becomes 352 x 320 = 440 patches, above the limit of 400 (--max-item-patches)"},
    {"TooManyPixels", [](auto& item) { item.set_image(PngHeader(60000, 60000)); }, kInvalid, "1000000"},
    {"Aspect", [](auto& item) { item.set_image(SolidBmp(1, 201, {})); }, kInvalid, "200"},
    {"NotAligned",
     [](auto& item) {
       item.set_image(SolidBmp(64, 40, {}));
       item.mutable_preprocessing()->set_do_resize(false);
     },
     kInvalid, "32"},
};
INSTANTIATE_TEST_SUITE_P(All, BadItems, testing::ValuesIn(kBadItems), [](const auto& bad) { return bad.param.name; });

TEST(CheckItem, AModelWithoutDeepStackSaysSo) {
  EncoderInfo info = PuppetInfo();
  info.tower.deepstack_visual_indexes.clear();
  v1::Item item = Picture();
  item.mutable_outputs()->add_deepstack_levels(0);
  EXPECT_THAT(std::string(CheckItem(item, info, kLimits).status().message()), HasSubstr("no DeepStack levels"));
}

}  // namespace
}  // namespace vitower
