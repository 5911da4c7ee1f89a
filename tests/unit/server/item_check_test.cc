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
const ImagePlan& ImageOf(const ItemPlan& plan) { return std::get<ImagePlan>(plan.source); }

TEST(CheckItem, PlansWhatTheModelDoesByDefault) {
  const auto plan = Check(Picture());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->grid, (GridThw{1, 6, 4}));
  EXPECT_EQ(ImageOf(*plan).target, (ImageSize{96, 64}));
  EXPECT_TRUE(plan->outputs.tokens);
  EXPECT_THAT(plan->outputs.deepstack, ElementsAre(true, true));
  EXPECT_FALSE(plan->pooled);
  EXPECT_EQ(plan->dtype, DType::kBf16);
  EXPECT_EQ(plan->priority, Priority::kNormal);
  EXPECT_EQ(plan->reply_bytes, kResultOverheadBytes + 3 * 6 * 8 * 2);  // three outputs of 6 tokens of 8 bf16 values
  EXPECT_EQ(plan->decode_bytes, 64 * 96 * (3 + 4));                    // a BMP, through OpenCV's picture
  EXPECT_EQ(ImageOf(*plan).options.min_pixels, 1024);
  EXPECT_TRUE(ImageOf(*plan).options.apply_exif);
}

TEST(CheckItem, PlansWhatIsAskedFor) {
  v1::Item item = Picture();
  item.mutable_outputs()->set_pooled(true);
  item.mutable_outputs()->set_pooled_slices(true);
  item.mutable_outputs()->set_l2_normalize(true);
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
  EXPECT_TRUE(plan->pooled && plan->pooled_slices && plan->l2_normalize);
  EXPECT_EQ(plan->reply_bytes, kResultOverheadBytes + (plan->grid.patches() / 4 + 2) * 8 * 4);
  EXPECT_EQ(plan->priority, Priority::kLow);
  EXPECT_GE(ImageOf(*plan).target.height * ImageOf(*plan).target.width, 128 * 128);
  EXPECT_EQ(*ImageOf(*plan).options.background, (std::array<uint8_t, 3>{0, 255, 0}));
}

TEST(CheckItem, SlicesAloneAreWhatIsSent) {
  v1::Item item = Picture();
  item.mutable_outputs()->set_pooled_slices(true);
  const auto plan = Check(item);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->outputs.tokens);
  EXPECT_THAT(plan->outputs.deepstack, ElementsAre(false, false));
}

TEST(CheckItem, AHugeMaximumMeansNone) {
  v1::Item item = Picture();
  item.mutable_preprocessing()->set_max_pixels(std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(Check(item).ok());
}

struct BadItem {
  std::string name;
  std::function<void(v1::Item&)> spoil;
  std::string message;
};
class BadItems : public testing::TestWithParam<BadItem> {};

TEST_P(BadItems, AreRefusedByName) {
  v1::Item item = Picture();
  GetParam().spoil(item);
  const auto plan = Check(item);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr(GetParam().message));
}

const BadItem kBadItems[] = {
    {"NoSource", [](auto& item) { item.clear_source(); }, "no source"},
    {"LongId", [](auto& item) { item.set_id(std::string(1025, 'x')); },
     "the field id has 1025 bytes, above the limit of 1024"},
    {"EmptyImage", [](auto& item) { item.set_image(""); }, "the field image is empty"},
    {"Text", [](auto& item) { item.set_image("hello world, this is text"); }, ""},
    {"LengthOfNothing", [](auto& item) { item.mutable_outputs()->set_l2_normalize(true); },
     "outputs.l2_normalize is set without outputs.pooled or outputs.pooled_slices"},
    {"BoundsOnWhatIsNotResized",
     [](auto& item) {
       item.mutable_preprocessing()->set_max_pixels(4096);
       item.mutable_preprocessing()->set_do_resize(false);
     },
     "preprocessing.max_pixels is set, and preprocessing.do_resize is false"},
    {"UnknownDtype", [](auto& item) { item.mutable_outputs()->set_dtype(static_cast<v1::DType>(9)); },
     "outputs.dtype has the unknown value 9"},
    {"UnknownPriority", [](auto& item) { item.set_priority(static_cast<v1::Priority>(7)); },
     "priority has the unknown value 7"},
    {"LevelTooHigh", [](auto& item) { item.mutable_outputs()->add_deepstack_levels(3); },
     "outputs.deepstack_levels has 3; the model has levels 0 to 1"},
    {"ZeroMinimum", [](auto& item) { item.mutable_preprocessing()->set_min_pixels(0); },
     "preprocessing.min_pixels is 0; it must be at least 1"},
    {"MinimumAboveMaximum",
     [](auto& item) {
       item.mutable_preprocessing()->set_min_pixels(5000);
       item.mutable_preprocessing()->set_max_pixels(4000);
     },
     "preprocessing.min_pixels is 5000, above max_pixels, which is 4000"},
    {"MaximumBelowTheModelsMinimum", [](auto& item) { item.mutable_preprocessing()->set_max_pixels(1000); },
     "preprocessing.min_pixels is 1024 (the model's own), above max_pixels, which is 1000"},
    {"Channel", [](auto& item) { item.mutable_preprocessing()->mutable_background()->set_blue(256); },
     "preprocessing.background.blue is 256; a channel is 0 to 255"},
    {"TooManyPatches", [](auto& item) { item.set_image(SolidBmp(352, 320, {})); },
     "the image of 352 x 320 pixels becomes 352 x 320 = 440 patches, above the limit of 400 (--max-item-patches)"},
    {"TooManyPixels", [](auto& item) { item.set_image(PngHeader(60000, 60000)); }, "1000000"},
    {"Aspect", [](auto& item) { item.set_image(SolidBmp(1, 201, {})); }, "200"},
    {"NotAligned",
     [](auto& item) {
       item.set_image(SolidBmp(64, 40, {}));
       item.mutable_preprocessing()->set_do_resize(false);
     },
     "32"},
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
