#include "model/device_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

auto There(int count) {
  return [count] { return absl::StatusOr<int>(count); };
}

std::string Refusal(const char* text, int count) {
  return std::string(ParseDevices(text, There(count)).status().message());
}

TEST(DeviceList, TheCpuNeedsNoGpu) {
  const auto none = [] { return absl::StatusOr<int>(absl::FailedPreconditionError("no driver")); };
  EXPECT_THAT(*ParseDevices("cpu", none), IsEmpty());
  EXPECT_EQ(ParseDevices("cuda:0", none).status().message(), "no driver");
  EXPECT_EQ(ParseDevices("cuda:all", none).status().message(), "no driver");
}

TEST(DeviceList, NamesOneGpuSeveralOrAll) {
  EXPECT_THAT(*ParseDevices("cuda:3", There(4)), ElementsAre(3));
  EXPECT_THAT(*ParseDevices("cuda:2,cuda:0", There(4)), ElementsAre(2, 0));
  EXPECT_THAT(*ParseDevices("cuda:all", There(4)), ElementsAre(0, 1, 2, 3));
}

TEST(DeviceList, AGpuThatIsNotThereIsRefusedWithTheirNumber) {
  EXPECT_EQ(Refusal("cuda:4", 4), "device is \"cuda:4\", and this host has 4 CUDA devices: cuda:0 to cuda:3");
  EXPECT_EQ(Refusal("cuda:0,cuda:1", 1), "device is \"cuda:1\", and this host has 1 CUDA device: cuda:0");
}

TEST(DeviceList, OtherTextsAreRefused) {
  for (const char* text :
       {"", "cuda", "cuda:", "cuda:x", "cuda:-1", "gpu:0", "cuda:0,", "cuda:0 cuda:1", "cpu,cuda:0"}) {
    EXPECT_THAT(Refusal(text, 4), HasSubstr("expected \"cpu\" or \"cuda:N\"")) << text;
    EXPECT_EQ(ParseDevices(text, There(4)).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace vitower
