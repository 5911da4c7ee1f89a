#include "cli/bench_mix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitower {
namespace {

using ::testing::HasSubstr;

TEST(BenchMix, PartsHaveKindSizeAndShare) {
  const auto mix = ParseMix("jpeg:224x448=3,raw:1280x704,clip:320x608x16=0.5");
  ASSERT_TRUE(mix.ok()) << mix.status();
  ASSERT_EQ(mix->size(), 3U);
  EXPECT_EQ((*mix)[0].name, "jpeg:224x448");
  EXPECT_EQ((*mix)[0].width, 224);
  EXPECT_EQ((*mix)[0].height, 448);
  EXPECT_EQ((*mix)[0].share, 3);
  EXPECT_EQ((*mix)[1].kind, PayloadKind::kRaw);
  EXPECT_EQ((*mix)[1].share, 1);
  EXPECT_EQ((*mix)[2].kind, PayloadKind::kClip);
  EXPECT_EQ((*mix)[2].frames, 16);
  EXPECT_EQ((*mix)[2].share, 0.5);
}

TEST(BenchMix, WhatCannotBeReadIsNamed) {
  const auto message = [](const char* text) { return std::string(ParseMix(text).status().message()); };
  EXPECT_THAT(message("jpeg:224x224,tiff:10x10"), HasSubstr("\"tiff:10x10\": the kind must be"));
  EXPECT_THAT(message(""), HasSubstr("the kind must be"));
  EXPECT_THAT(message("jpeg:224"), HasSubstr("it needs WIDTHxHEIGHT"));
  EXPECT_THAT(message("jpeg:224x224x8"), HasSubstr("it needs WIDTHxHEIGHT"));
  EXPECT_THAT(message("clip:224x224"), HasSubstr("a clip needs"));
  EXPECT_THAT(message("png:0x10"), HasSubstr("\"0\" is no size"));
  EXPECT_THAT(message("png:20000x10"), HasSubstr("at most 16384 pixels"));
  EXPECT_THAT(message("png:10x10=0"), HasSubstr("share"));
  EXPECT_THAT(message("patches:40x32"), HasSubstr("multiples of 32"));
  EXPECT_THAT(message("clip:31x32x4"), HasSubstr("even"));
}

TEST(BenchMix, PartsComeByTheirSharesInTheSameOrderForTheSameSeed) {
  const auto mix = ParseMix("raw:32x32=3,png:32x32=1");
  MixPicker picker(*mix, 7);
  MixPicker same(*mix, 7);
  int first = 0;
  for (int i = 0; i < 4000; ++i) {
    const size_t part = picker.Next();
    ASSERT_EQ(part, same.Next());
    first += part == 0 ? 1 : 0;
  }
  EXPECT_NEAR(first, 3000, 110);  // four standard deviations
}

}  // namespace
}  // namespace vitower
