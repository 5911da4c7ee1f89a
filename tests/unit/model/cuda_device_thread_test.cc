#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "model/cuda/device_thread.h"

namespace vitower {
namespace {

TEST(DeviceThread, RunsWhateverItIsGivenOnOneThreadThatIsNotTheCallers) {
  DeviceThread thread;
  std::thread::id first;
  std::thread::id second;
  thread.Run([&] { first = std::this_thread::get_id(); });
  std::thread([&] { thread.Run([&] { second = std::this_thread::get_id(); }); }).join();
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

TEST(DeviceThread, ThrowsInTheCallerAndServesOn) {
  DeviceThread thread;
  EXPECT_THROW(thread.Run([] { throw std::runtime_error("fault"); }), std::runtime_error);
  bool ran = false;
  thread.Run([&] { ran = true; });
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace vitower
