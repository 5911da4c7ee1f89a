#include <gmock/gmock.h>

#include <future>

#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

class CacheTest : public ServerTest {
 protected:
  void Serve() {
    options_.cache_bytes = 1 << 20;
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  // An image of 128 x 128 is told from others by its patches.
  size_t Embedded() const {
    size_t count = 0;
    for (const std::vector<GridThw>& batch : puppet_->batches()) count += std::count(batch.begin(), batch.end(), kGrid);
    return count;
  }
  std::future<Reply> EmbedLater(std::chrono::nanoseconds deadline = kLongEnough) {
    return std::async(std::launch::async, [this, deadline] { return Embed(OneImage(128, 128), deadline); });
  }

  static constexpr GridThw kGrid{1, 8, 8};
};

TEST_F(CacheTest, AnItemThatComesAgainIsNotComputedAgain) {
  Serve();
  v1::EmbedRequest request = OneImage(128, 128);
  ExpectRowsOf(Embed(request).response.results(0), 128, 128, {});
  request.mutable_items(0)->set_id("another");
  request.mutable_items(0)->set_priority(v1::PRIORITY_LOW);
  const Reply again = Embed(request);
  ExpectRowsOf(again.response.results(0), 128, 128, {});
  EXPECT_EQ(again.response.results(0).id(), "another");
  EXPECT_EQ(again.response.results(0).times().batch_items(), 0U);
  EXPECT_EQ(again.response.results(0).times().decode_seconds(), 0);
  EXPECT_GT(again.response.results(0).times().admit_seconds(), 0);
  EXPECT_EQ(Embedded(), 1U);
  EXPECT_EQ(Metric("vitower_cache_hits_total"), 1);
}

TEST_F(CacheTest, OtherOptionsAreAnotherItem) {
  Serve();
  v1::EmbedRequest request = OneImage(128, 128);
  ASSERT_TRUE(Embed(request).status.ok());
  request.mutable_items(0)->mutable_outputs()->set_pooled(true);
  EXPECT_EQ(Embed(request).response.results(0).outputs_size(), 1);
  EXPECT_EQ(Embedded(), 2U);
}

TEST_F(CacheTest, TwoInFlightAreComputedOnce) {
  Serve();
  puppet_->Hold();
  auto first = EmbedLater();
  puppet_->AwaitPasses(2);
  auto second = EmbedLater();
  AwaitMetric("vitower_cache_hits_total", 1);
  puppet_->Release();
  ExpectRowsOf(first.get().response.results(0), 128, 128, {});
  const Reply waited = second.get();
  ExpectRowsOf(waited.response.results(0), 128, 128, {});
  EXPECT_GT(waited.response.results(0).times().queue_seconds(), 0);
  EXPECT_EQ(Embedded(), 1U);
}

TEST_F(CacheTest, WhereTheFirstExpiresTheSecondIsComputedItself) {
  Serve();
  puppet_->Hold();
  auto busy = std::async(std::launch::async, [this] { return Embed(OneImage()); });
  puppet_->AwaitPasses(2);
  auto first = EmbedLater(std::chrono::milliseconds(100));
  AwaitMetric("vitower_queue_items", 2);
  auto second = EmbedLater();
  AwaitMetric("vitower_cache_hits_total", 1);
  EXPECT_EQ(first.get().status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Embed(OneImage(32, 32), std::chrono::milliseconds(300)).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);  // the first is late by the server's clock too
  puppet_->Release();
  ExpectRowsOf(second.get().response.results(0), 128, 128, {});
  EXPECT_EQ(Embedded(), 1U);
  EXPECT_TRUE(busy.get().status.ok());
}

}  // namespace
}  // namespace vitower
