#include <gmock/gmock.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

class OverloadTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  double Rejected(const std::string& reason) const {
    return Metric("vitower_rejected_total{method=\"Embed\",reason=\"" + reason + "\"}");
  }
};

TEST_F(OverloadTest, AFullQueueIsRefusedAtOnceWithTheNumbersAndAPushback) {
  options_.max_queue_patches = 64;
  Serve();
  puppet_->Hold();
  std::thread inside([&] { EXPECT_TRUE(Embed(OneImage(128, 128)).status.ok()); });
  puppet_->AwaitPasses(2);
  const Reply refused = Embed(OneImage(64, 64));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.status.error_message(),
            "queue is full: 64 patches in flight, the call needs 16, the limit (--max-queue-patches) is 64");
  EXPECT_EQ(refused.trailers.count("grpc-retry-pushback-ms"), 1U);
  EXPECT_EQ(Rejected("queue_full"), 1);
  puppet_->Release();
  inside.join();
  EXPECT_TRUE(Embed(OneImage(64, 64)).status.ok());
}

TEST_F(OverloadTest, ACallThatCanNeverFitIsToldSo) {
  options_.max_queue_patches = 64;
  Serve();
  const Reply refused = Embed(OneImage(128, 160));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("the call needs 80 patches, more than the server ever holds"));
  EXPECT_EQ(refused.trailers.find("grpc-retry-pushback-ms")->second, "-1");
}

TEST_F(OverloadTest, TooManyAndNoItemsAreRefused) {
  options_.max_request_items = 2;
  Serve();
  v1::EmbedRequest request;
  EXPECT_EQ(Embed(request).status.error_code(), StatusCode::INVALID_ARGUMENT);
  for (int i = 0; i < 3; ++i) *request.add_items() = ImageItem("", SolidBmp(32, 32, {}));
  const Reply refused = Embed(request);
  EXPECT_EQ(refused.status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("3 items, above the limit of 2 (--max-request-items)"));
  EXPECT_EQ(Rejected("too_many_items"), 1);
  EXPECT_EQ(Rejected("no_items"), 1);
}

TEST_F(OverloadTest, AReplyThatWouldBeTooLargeIsRefusedBeforeAnyWork) {
  options_.max_reply_bytes = 1024;
  Serve();
  const Reply refused = Embed(OneImage(128, 128));  // 3 x 16 x 8 fp32 values, 512, the id
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("take 2051 bytes, above the limit of 1024"));
  EXPECT_THAT(refused.status.error_message(), HasSubstr("EmbedStream"));
  EXPECT_EQ(puppet_->passes(), 1U);  // the warm-up
}

TEST_F(OverloadTest, RefusedItemsCountTowardsTheReply) {
  options_.max_reply_bytes = 1100;
  Serve();
  EXPECT_TRUE(Embed(RequestOf({ImageItem("a", ""), ImageItem("b", "")})).status.ok());
  const Reply refused = Embed(RequestOf({ImageItem("a", ""), ImageItem(std::string(100, 'b'), "")}));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("take 1125 bytes"));
}

TEST_F(OverloadTest, DecodedImagesCountTowardsTheMemoryOfCalls) {
  options_.max_inflight_bytes = 100'000'000;
  Serve();
  const Reply refused = Embed(RequestOf({ImageItem("", PngHeader(8000, 8000))}));
  EXPECT_EQ(refused.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(),
              HasSubstr("bytes for its request, decoded pictures and reply, more than"));
}

TEST_F(OverloadTest, NoMoreDecodedImagesCountThanThereAreThreads) {
  options_.max_inflight_bytes = 100'000'000;
  options_.preprocess_threads = 1;
  Serve();
  v1::EmbedRequest request;
  for (int i = 0; i < 3; ++i) {
    *request.add_items() = ImageItem("", PngHeader(4000, 4000));  // 48 MB each
    request.mutable_items(i)->mutable_preprocessing()->set_max_pixels(1 << 18);
  }
  const Reply reply = Embed(request);
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
}

TEST_F(OverloadTest, ACompressedRequestIsRefused) {
  Serve();
  grpc::ClientContext context;
  SetDeadline(context);
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::EmbedResponse response;
  EXPECT_EQ(stub_->Embed(&context, OneImage(), &response).error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(OverloadTest, NoReplyIsLargerThanWasReckonedAtTheDoor) {
  Serve();
  v1::EmbedRequest request = OneImage(128, 128);
  v1::Outputs& outputs = *request.mutable_items(0)->mutable_outputs();
  outputs.set_tokens(true);
  outputs.set_pooled(true);
  outputs.add_deepstack_levels(0);
  outputs.add_deepstack_levels(1);
  const Reply reply = Embed(request);
  const int64_t values = (3 * 16 + 1) * 8;
  EXPECT_LE(reply.response.ByteSizeLong(), static_cast<size_t>(512 + 3 + values * 4));
}

TEST_F(OverloadTest, ARequestAboveTheByteLimitIsRefused) {
  options_.max_request_bytes = 20'000;
  Serve();
  EXPECT_TRUE(Embed(OneImage(64, 64)).status.ok());
  EXPECT_EQ(Embed(OneImage(128, 64)).status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(OverloadTest, AnItemAboveItsLimitIsRefusedAlone) {
  options_.max_item_patches = 16;
  Serve();
  const Reply reply =
      Embed(RequestOf({ImageItem("", SolidBmp(64, 96, {})), ImageItem("", SolidBmp(64, 64, {5, 5, 5}))}));
  EXPECT_THAT(reply.response.results(0).status().message(), HasSubstr("24 patches, above the limit of 16"));
  ExpectRowsOf(reply.response.results(1), 64, 64, {5, 5, 5});
}

TEST_F(OverloadTest, AnItemAboveTheBudgetRunsAlone) {
  options_.max_batch_patches = 16;
  Serve();
  ExpectRowsOf(Embed(OneImage(128, 128, {5, 6, 7})).response.results(0), 128, 128, {5, 6, 7});
}

TEST_F(OverloadTest, TwoHundredCallsAreEachServedRightOrRefused) {
  options_.max_queue_patches = 512;
  Serve();
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 200; ++i) {
    clients.emplace_back([&, i] {
      const int64_t side = 32 * (1 + i % 6);
      const Colour colour{static_cast<uint8_t>(10 + i), 20, static_cast<uint8_t>(i)};
      const Reply reply = Embed(OneImage(side, 64, colour));
      if (reply.status.ok()) {
        ++served;
        ExpectRowsOf(reply.response.results(0), side, 64, colour);
      } else {
        ++refused;
        EXPECT_EQ(reply.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(served + refused, 200);
  EXPECT_GT(served, 0);
  EXPECT_EQ(Rejected("queue_full"), refused);
  AwaitMetric("vitower_inflight_bytes", 0);
  EXPECT_EQ(Metric("vitower_queue_patches"), 0);
}

}  // namespace
}  // namespace vitower
