#include "server/stream_window.h"

#include <gtest/gtest.h>

namespace vitower {
namespace {

TEST(StreamWindow, ClosesAtTheLimitOfItems) {
  StreamWindow window({/*items=*/2, /*patches=*/1000, /*bytes=*/1000});
  window.Enter();
  EXPECT_TRUE(window.open());
  window.Enter();
  EXPECT_FALSE(window.open());
  window.Leave({});
  EXPECT_TRUE(window.open());
}

TEST(StreamWindow, ClosesAboveItsPatchesUntilTheyAreAnswered) {
  StreamWindow window({100, /*patches=*/64, 1000});
  window.Enter();
  window.Hold({}, {1, 64, 10});
  EXPECT_TRUE(window.open());
  window.Enter();
  window.Hold({}, {1, 1, 10});
  EXPECT_FALSE(window.open());
  window.Hold({1, 1, 10}, {0, 0, 10});
  EXPECT_TRUE(window.open());
}

TEST(StreamWindow, ClosesAboveItsBytesUntilTheAnswersAreSent) {
  StreamWindow window({100, 1000, /*bytes=*/100});
  window.Enter();
  window.Hold({}, {1, 4, 101});
  window.Hold({1, 4, 101}, {0, 0, 101});
  EXPECT_FALSE(window.open());
  window.Leave({0, 0, 101});
  EXPECT_TRUE(window.open());
}

TEST(StreamWindow, IncompleteItemsCountButNeverCloseItAlone) {
  StreamWindow window({/*items=*/3, 1000, /*bytes=*/100});
  window.SetIncomplete(3, 500);
  EXPECT_TRUE(window.open());
  window.Enter();
  EXPECT_FALSE(window.open());
  window.SetIncomplete(1, 100);
  EXPECT_TRUE(window.open());
  window.Hold({}, {1, 4, 1});
  EXPECT_FALSE(window.open());
}

TEST(StreamWindow, KnowsHowManyItemsHoldRoom) {
  StreamWindow window({10, 1000, 1000});
  window.Enter();
  EXPECT_EQ(window.permits(), 0);
  window.Hold({}, {1, 4, 10});
  EXPECT_EQ(window.permits(), 1);
  window.Leave({1, 4, 10});
  EXPECT_EQ(window.permits(), 0);
}

}  // namespace
}  // namespace vitower
