#include <gmock/gmock.h>

#include <string>

#include "tests/support/failing_new.h"
#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

class MemoryTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
};

TEST_F(MemoryTest, MillionsOfEmptyItemsAreRefusedWithoutMemoryForThem) {
  Serve();
  std::string bytes(4 << 20, '\0');
  for (size_t i = 0; i < bytes.size(); i += 2) bytes[i] = '\x0a';
  RawStream call(NewChannel(), "/vitower.v1.VisionEmbedder/Embed");
  const FailingNew above(5 << 20);
  call.Write(bytes);
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("2097152 items"));
}

TEST_F(MemoryTest, ACallThatFindsNoMemoryIsAnsweredAndForgotten) {
  Serve();
  const v1::EmbedRequest request = OneImage(1024, 1024);
  {
    const FailingNew above(2 << 20);
    const Reply reply = Embed(request);
    EXPECT_EQ(reply.status.error_code(), StatusCode::INTERNAL);
    EXPECT_THAT(reply.status.error_message(), HasSubstr(reply.trailers.find("x-request-id")->second));
  }
  AwaitMetric("vitower_inflight_bytes", 0);
  EXPECT_TRUE(Embed(request).status.ok());
  EXPECT_TRUE(server_->Drain().ok());
}

TEST_F(MemoryTest, AWarmUpThatFindsNoMemoryFails) {
  options_.max_batch_patches = 256;
  const FailingNew above(256 * 256 * 3);
  Start();
  EXPECT_THAT(std::string(server_->WaitUntilServing().message()), HasSubstr("the warm-up ran out of memory"));
}

}  // namespace
}  // namespace vitower
