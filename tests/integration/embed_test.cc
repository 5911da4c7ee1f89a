#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <string>

#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

class EmbedTest : public ServerTest {
 protected:
  void SetUp() override {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
};

class BatchingTest : public ServerTest {};

TEST_F(BatchingTest, ADelayLetsABatchFill) {
  options_.max_batch_patches = 64;
  options_.max_batch_delay = kLongEnough;
  Start();
  ASSERT_TRUE(server_->WaitUntilServing().ok());
  v1::EmbedRequest request;
  for (int i = 0; i < 4; ++i) *request.add_items() = ImageItem("", SolidBmp(64, 64, {}));
  const Reply reply = Embed(request);
  ASSERT_EQ(reply.response.results_size(), 4) << reply.status.error_message();
  EXPECT_EQ(reply.response.results(3).times().batch_items(), 4U);
  EXPECT_EQ(reply.response.results(3).times().batch_patches(), 64U);
  EXPECT_EQ(puppet_->passes(), 2U);
}

struct Picture {
  int64_t width;
  int64_t height;
  Colour colour;
};

std::vector<Picture> MixedPictures(size_t count) {
  std::mt19937 random(3);
  std::vector<Picture> pictures;
  for (size_t i = 0; i < count; ++i) {
    const auto side = [&] { return 32 * (1 + static_cast<int64_t>(random() % 8)); };
    const int64_t width = side();
    pictures.push_back({width, side(), {static_cast<uint8_t>(10 + i), static_cast<uint8_t>(3 * i), 77}});
  }
  return pictures;
}

v1::Item ItemOf(const Picture& picture, size_t id) {
  return ImageItem(std::to_string(id), SolidBmp(picture.width, picture.height, picture.colour));
}

TEST_F(EmbedTest, MixedItemsComeBackInOrderWithTheirOwnRows) {
  const std::vector<Picture> pictures = MixedPictures(40);
  v1::EmbedRequest request;
  for (size_t i = 0; i < pictures.size(); ++i) *request.add_items() = ItemOf(pictures[i], i);
  const Reply reply = Embed(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.response.results_size(), 40);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const v1::Result& result = reply.response.results(static_cast<int>(i));
    EXPECT_EQ(result.id(), std::to_string(i));
    ExpectRowsOf(result, pictures[i].width, pictures[i].height, pictures[i].colour);
  }
}

TEST_F(EmbedTest, ABadItemDoesNotHurtItsNeighbours) {
  v1::EmbedRequest request;
  *request.add_items() = ItemOf({64, 32, {9, 9, 9}}, 0);
  *request.add_items() = ImageItem("1", "");
  *request.add_items() = ImageItem("2", "this is text, whatever its name");
  *request.add_items() = ImageItem("3", PngHeader(60000, 60000));
  *request.add_items() = ImageItem("4", PngHeader(64, 64));  // a header and nothing behind it
  *request.add_items() = ImageItem("5", SolidBmp(1, 201, {}));
  request.add_items()->mutable_video();
  *request.add_items() = ItemOf({32, 96, {8, 8, 8}}, 7);
  const Reply reply = Embed(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  std::vector<uint32_t> codes;
  for (const v1::Result& result : reply.response.results()) codes.push_back(result.status().code());
  EXPECT_THAT(codes, ElementsAre(0, 3, 3, 3, 3, 3, 3, 0));
  ExpectRowsOf(reply.response.results(0), 64, 32, {9, 9, 9});
  ExpectRowsOf(reply.response.results(7), 32, 96, {8, 8, 8});
  EXPECT_EQ(Metric("vitower_items_total{code=\"INVALID_ARGUMENT\",kind=\"image\"}"), 5);
  EXPECT_EQ(Metric("vitower_items_total{code=\"INVALID_ARGUMENT\",kind=\"video\"}"), 1);
}

TEST_F(EmbedTest, ACallOfBadItemsOnlyIsAnsweredToo) {
  const Reply reply = Embed(RequestOf({ImageItem("a", ""), ImageItem("b", "")}));
  ASSERT_TRUE(reply.status.ok());
  ASSERT_EQ(reply.response.results_size(), 2);
  EXPECT_EQ(reply.response.results(1).id(), "b");
}

TEST_F(EmbedTest, ABadItemTellsWhatItTook) {
  const Reply reply = Embed(RequestOf({ImageItem("", "text, no picture"), ImageItem("", PngHeader(64, 64))}));
  ASSERT_EQ(reply.response.results_size(), 2);
  EXPECT_GT(reply.response.results(0).times().admit_seconds(), 0);
  EXPECT_EQ(reply.response.results(0).times().decode_seconds(), 0);
  EXPECT_GT(reply.response.results(1).times().decode_seconds(), 0);
}

TEST_F(EmbedTest, ANanFailsItsItemAndIsCounted) {
  v1::EmbedRequest request;
  *request.add_items() = ItemOf({32, 32, {7, 7, 7}}, 0);
  *request.add_items() = ItemOf({32, 32, {kNanPixel[0], kNanPixel[1], kNanPixel[2]}}, 1);
  const Reply reply = Embed(request);
  ExpectRowsOf(reply.response.results(0), 32, 32, {7, 7, 7});
  EXPECT_EQ(reply.response.results(1).status().code(), 13U);
  EXPECT_EQ(Metric("vitower_nonfinite_items_total"), 1);
}

TEST_F(EmbedTest, AFailingPassFailsItsBatchOnlyAndKeepsTheReasonInTheLog) {
  for (const auto mood : {Puppet::Mood::kFail, Puppet::Mood::kThrow, Puppet::Mood::kTooFewRows}) {
    puppet_->SetPoison(mood);
    const Reply failed = Embed(OneImage(64, 64, {kPoisonPixel[0], kPoisonPixel[1], kPoisonPixel[2]}));
    ASSERT_TRUE(failed.status.ok());
    EXPECT_EQ(failed.response.results(0).status().code(), 13U);
    const std::string message = failed.response.results(0).status().message();
    EXPECT_THAT(message, HasSubstr(failed.trailers.find("x-request-id")->second));
    EXPECT_THAT(message, testing::Not(HasSubstr("secret")));
    EXPECT_EQ(Metric("vitower_device_up{device=\"puppet:0\"}"), 1);
    ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
    EXPECT_EQ(Metric("vitower_device_up{device=\"puppet:0\"}"), 1);
  }
}

TEST_F(EmbedTest, SendsTheOutputsAndTheDtypeAskedFor) {
  v1::EmbedRequest request = OneImage();
  v1::Outputs& outputs = *request.mutable_items(0)->mutable_outputs();
  outputs.set_pooled(true);
  outputs.add_deepstack_levels(1);
  outputs.set_dtype(v1::DTYPE_FP16);
  const Reply reply = Embed(request);
  const v1::Result& result = reply.response.results(0);
  ASSERT_EQ(result.outputs_size(), 2) << result.status().message();
  EXPECT_EQ(result.outputs(0).name(), "deepstack_1");
  EXPECT_THAT(result.outputs(0).shape(), ElementsAre(4, 8));
  EXPECT_EQ(result.outputs(0).data().size(), 4U * 8 * 2);
  EXPECT_EQ(result.outputs(1).name(), "pooled");
  EXPECT_THAT(result.outputs_not_sent(), ElementsAre("tokens", "deepstack_0", "pooled_slices"));
  EXPECT_EQ(result.dtype(), v1::DTYPE_FP16);
}

TEST_F(EmbedTest, RequestIdsAreEchoedOrMade) {
  grpc::ClientContext context;
  SetDeadline(context);
  context.AddMetadata("x-request-id", "my-trace-17");
  v1::EmbedResponse response;
  ASSERT_TRUE(stub_->Embed(&context, OneImage(), &response).ok());
  EXPECT_EQ(context.GetServerTrailingMetadata().find("x-request-id")->second, "my-trace-17");
  EXPECT_THAT(Embed(OneImage()).trailers.find("x-request-id")->second, MatchesRegex("[0-9a-f]{16}"));
}

TEST_F(EmbedTest, GarbageIsRefusedAsMalformed) {
  RawStream call(NewChannel(), "/vitower.v1.VisionEmbedder/Embed");
  call.Write("\xFF\xFF\xFF not protobuf");
  EXPECT_FALSE(call.Read());
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Metric("vitower_rejected_total{method=\"Embed\",reason=\"malformed\"}"), 1);
}

TEST_F(EmbedTest, ModelInfoTellsShapesAndLimits) {
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(stub_->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.name(), "puppet");
  EXPECT_EQ(info.fingerprint(), "0123abcd");
  EXPECT_EQ(info.dtype(), v1::DTYPE_FP32);
  EXPECT_THAT(info.outputs(), ElementsAre("tokens", "deepstack_0", "deepstack_1", "pooled", "pooled_slices"));
  EXPECT_THAT(info.deepstack_visual_indexes(), ElementsAre(1, 2));
  EXPECT_EQ(info.out_hidden_size(), 8U);
  EXPECT_EQ(info.limits().max_queue_patches(), 65536U);  // chosen by the server
  EXPECT_EQ(info.limits().max_reply_bytes(), 64U << 20);
  EXPECT_THAT(info.server_version(), MatchesRegex("[0-9]+.[0-9]+.[0-9]+"));
}

TEST_F(EmbedTest, ReflectionListsTheService) {
  RawStream call(NewChannel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  ASSERT_TRUE(call.Write("\x3a\x01*"));  // list_services
  EXPECT_THAT(call.Read().value_or(""), HasSubstr("vitower.v1.VisionEmbedder"));
}

}  // namespace
}  // namespace vitower
