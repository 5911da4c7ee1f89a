#include "cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/format.h"

namespace vitower {
namespace {

using std::chrono::microseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseBytes, KnowsDecimalAndBinaryUnits) {
  EXPECT_EQ(*ParseBytes("0"), 0);
  EXPECT_EQ(*ParseBytes("1048576"), 1048576);
  EXPECT_EQ(*ParseBytes("256MiB"), 268435456);
  EXPECT_EQ(*ParseBytes("64MB"), 64000000);
  EXPECT_EQ(*ParseBytes("1.5KiB"), 1536);
  EXPECT_EQ(*ParseBytes("2 gib"), 2147483648);
}

TEST(ParseBytes, RefusesWhatItCannotReadInFull) {
  for (const char* text : {"", "MiB", "-1", "10XB", "1.2", "1e3", "10MiB0", "9999999999GiB"}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
  EXPECT_THAT(std::string(ParseBytes("10XB").status().message()), HasSubstr("\"10XB\""));
}

TEST(ParseDuration, NeedsAUnitUnlessItIsZero) {
  EXPECT_EQ(*ParseDuration("0"), microseconds(0));
  EXPECT_EQ(*ParseDuration("200us"), microseconds(200));
  EXPECT_EQ(*ParseDuration("5ms"), microseconds(5000));
  EXPECT_EQ(*ParseDuration("1.5s"), microseconds(1500000));
  EXPECT_EQ(*ParseDuration("2min"), microseconds(120000000));
  EXPECT_EQ(*ParseDuration("1.001s"), microseconds(1001000));
  for (const char* text : {"", "5", "ms", "-5ms", "5 hours", "0.5us"}) EXPECT_FALSE(ParseDuration(text).ok()) << text;
}

TEST(Format, IsReadBack) {
  for (int64_t bytes : {0LL, 1LL, 1000LL, 1LL << 10, 268435456LL, 3LL << 30}) {
    EXPECT_EQ(*ParseBytes(FormatBytes(bytes)), bytes);
  }
  for (int64_t value : {0, 1, 1500, 5000, 30000000}) {
    EXPECT_EQ(ParseDuration(FormatDuration(microseconds(value)))->count(), value);
  }
  EXPECT_EQ(FormatBytes(268435456), "256MiB");
  EXPECT_EQ(FormatDuration(microseconds(30000000)), "30s");
}

TEST(ParseInt, RefusesFractionsAndOverflow) {
  EXPECT_EQ(*ParseInt("-7"), -7);
  for (const char* text : {"", "1.5", "0x10", "1 ", "99999999999999999999"}) EXPECT_FALSE(ParseInt(text).ok()) << text;
}

TEST(ParseBool, KnowsTheUsualWords) {
  for (const char* text : {"true", "YES", "on", "1"}) EXPECT_TRUE(*ParseBool(text)) << text;
  for (const char* text : {"false", "no", "OFF", "0"}) EXPECT_FALSE(*ParseBool(text)) << text;
  EXPECT_FALSE(ParseBool("maybe").ok());
}

TEST(ParseColor, TakesHexWithAndWithoutHash) {
  EXPECT_THAT(*ParseColor("#ff8001"), ElementsAre(255, 128, 1));
  EXPECT_THAT(*ParseColor("FF8001"), ElementsAre(255, 128, 1));
  for (const char* text : {"", "#", "white", "#fff", "#12345g", "#1234567"})
    EXPECT_FALSE(ParseColor(text).ok()) << text;
}

TEST(ParseOutputs, ReadsAList) {
  const WantedOutputs wanted = *ParseOutputs("pooled,deepstack_2,deepstack_0,deepstack_2");
  EXPECT_FALSE(wanted.tokens || wanted.all_deepstack);
  EXPECT_TRUE(wanted.pooled);
  EXPECT_THAT(wanted.deepstack_levels, ElementsAre(0, 2));
  EXPECT_TRUE(ParseOutputs("tokens,deepstack")->all_deepstack);
  EXPECT_TRUE(ParseOutputs("pooled_slices")->pooled_slices && !ParseOutputs("pooled_slices")->pooled);
}

TEST(ParseOutputs, RefusesUnknownNames) {
  for (const char* text : {"", "token", "tokens,", "deepstack_", "deepstack_x", "deepstack_-1", "_0"}) {
    EXPECT_FALSE(ParseOutputs(text).ok()) << text;
  }
}

TEST(ParseDType, ListsWhatThereIs) {
  EXPECT_EQ(*ParseDType("bf16"), DType::kBf16);
  EXPECT_EQ(*ParseDType("fp32"), DType::kFp32);
  EXPECT_THAT(std::string(ParseDType("float").status().message()), HasSubstr("bf16, fp16 or fp32"));
}

}  // namespace
}  // namespace vitower
