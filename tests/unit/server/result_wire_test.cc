#include "server/result_wire.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/byte_buffer.h"

namespace vitower {
namespace {

using google::protobuf::util::MessageDifferencer;

constexpr size_t kChunk = 64 << 10;

void AddOutput(v1::Result& result, const std::string& name, size_t size) {
  v1::Tensor& tensor = *result.add_outputs();
  tensor.set_name(name);
  tensor.add_shape(size / 2);
  tensor.set_dtype(v1::DTYPE_BF16);
  for (size_t i = 0; i < size; ++i) tensor.mutable_data()->push_back(static_cast<char>(i * 31 + name.size()));
}

v1::Result ResultOf(const std::vector<size_t>& sizes) {
  v1::Result result;
  result.set_id("an id");
  result.mutable_status()->set_code(0);
  result.mutable_grid_thw()->set_t(2);
  result.set_token_count(12);
  result.add_slice_timestamps(0.25);
  result.add_outputs_not_sent("pooled");
  result.set_retry_after_ms(0);
  for (const size_t size : sizes) AddOutput(result, "output of " + std::to_string(size), size);
  return result;
}

TEST(ResponseWire, IsWhatProtobufReadsBack) {
  v1::EmbedResponse expected;
  ResponseWire wire;
  for (const std::vector<size_t>& sizes : {std::vector<size_t>{}, {10}, {3000, 0, 2048}, {300'000, 7}}) {
    *expected.add_results() = ResultOf(sizes);
    wire.Add(ResultOf(sizes));
  }
  v1::EmbedResponse response;
  ASSERT_TRUE(response.ParseFromString(BytesOf(wire.Finish())));
  EXPECT_TRUE(MessageDifferencer::Equals(response, expected));
}

TEST(ResponseWire, AnEmptyResponseIsEmpty) { EXPECT_EQ(BytesOf(ResponseWire().Finish()), ""); }

TEST(AnswerWire, ASmallAnswerIsOneMessage) {
  AnswerWire wire(77, ResultOf({10, 5000}), kChunk);
  v1::EmbedStreamResponse message;
  ASSERT_TRUE(message.ParseFromString(BytesOf(wire.Next())));
  EXPECT_TRUE(wire.done());
  EXPECT_EQ(message.key(), 77U);
  EXPECT_TRUE(MessageDifferencer::Equals(message.result(), ResultOf({10, 5000})));
}

TEST(AnswerWire, ALargeAnswerIsItsResultAndThenItsValuesInOrder) {
  const v1::Result whole = ResultOf({3 * kChunk, 10, 0, kChunk + 1});
  AnswerWire wire(77, whole, kChunk);
  v1::EmbedStreamResponse message;
  ASSERT_TRUE(message.ParseFromString(BytesOf(wire.Next())));
  v1::Result result = message.result();
  EXPECT_EQ(result.outputs(0).byte_count(), 3 * kChunk);
  size_t parts = 0;
  for (; !wire.done(); ++parts) {
    const std::string bytes = BytesOf(wire.Next());
    EXPECT_LE(bytes.size(), kChunk + 64);
    ASSERT_TRUE(message.ParseFromString(bytes));
    EXPECT_EQ(message.key(), 77U);
    v1::Tensor& output = *result.mutable_outputs(static_cast<int>(message.part().output()));
    EXPECT_EQ(message.part().offset(), output.data().size());
    *output.mutable_data() += message.part().data();
  }
  EXPECT_EQ(parts, 3U + 1 + 2);
  for (v1::Tensor& output : *result.mutable_outputs()) output.clear_byte_count();
  EXPECT_TRUE(MessageDifferencer::Equals(result, whole));
}

TEST(AnswerWire, AMessageOutlivesItsAnswer) {
  grpc::ByteBuffer message;
  {
    AnswerWire wire(1, ResultOf({60'000}), kChunk);
    message = wire.Next();
  }
  v1::EmbedStreamResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(BytesOf(message)));
  EXPECT_TRUE(MessageDifferencer::Equals(parsed.result(), ResultOf({60'000})));
}

}  // namespace
}  // namespace vitower
