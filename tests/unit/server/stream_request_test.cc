#include "server/stream_request.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

using Body = StreamRequest::Body;

// In slices of `step` bytes, as a message may come.
std::optional<StreamRequest> ParseSliced(const std::string& bytes, size_t step) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += step) slices.emplace_back(bytes.substr(at, step));
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  return ParseStreamRequest(buffer);
}

std::string PayloadText(const std::vector<grpc::Slice>& slices) {
  std::string text;
  for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

v1::EmbedStreamRequest ItemMessage() {
  v1::EmbedStreamRequest message;
  message.set_key(uint64_t{1} << 63);
  message.mutable_item()->set_id("an id");
  message.mutable_item()->set_image("bytes of an image");
  return message;
}

TEST(ParseStreamRequest, FindsAnItemHoweverTheMessageIsSliced) {
  const v1::EmbedStreamRequest message = ItemMessage();
  for (const size_t step : {1U, 2U, 5U, 1000U}) {
    const auto request = ParseSliced(message.SerializeAsString(), step);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->key, message.key());
    EXPECT_EQ(request->body, Body::kItem);
    EXPECT_EQ(PayloadText(request->payload), message.item().SerializeAsString());
    EXPECT_EQ(request->payload_bytes, message.item().ByteSizeLong());
  }
}

TEST(ParseStreamRequest, AFewBytesDoNotKeepTheBufferTheyCameIn) {
  for (const auto& [size, shared] : {std::pair{size_t{4000}, false}, {size_t{5000}, true}}) {
    v1::EmbedStreamRequest message;
    message.mutable_part()->set_data(std::string(size, 'x'));
    bool freed = false;
    std::string bytes = message.SerializeAsString();
    std::optional<StreamRequest> request;
    {
      const auto free = [](void* flag) { *static_cast<bool*>(flag) = true; };
      const grpc::Slice slice(bytes.data(), bytes.size(), free, &freed);
      grpc::ByteBuffer buffer(&slice, 1);
      request = ParseStreamRequest(buffer);
    }
    EXPECT_EQ(freed, !shared) << size;
    EXPECT_EQ(PayloadText(request->payload), std::string(size, 'x'));
  }
}

TEST(ParseStreamRequest, FindsAPart) {
  v1::EmbedStreamRequest message;
  message.set_key(3);
  message.mutable_part()->set_offset(5'000'000'000);
  message.mutable_part()->set_total(6'000'000'000);
  message.mutable_part()->set_data(std::string(300, 'x'));
  const auto request = ParseSliced(message.SerializeAsString(), 7);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->body, Body::kPart);
  EXPECT_EQ(request->part_offset, 5'000'000'000U);
  EXPECT_EQ(request->part_total, 6'000'000'000U);
  EXPECT_EQ(PayloadText(request->payload), std::string(300, 'x'));
}

TEST(ParseStreamRequest, TakesTheLastBodyAndSkipsWhatItDoesNotKnow) {
  v1::EmbedStreamRequest part;
  part.mutable_part()->set_offset(9);
  const std::string unknown("\xa2\x06\x03xyz\xa8\x06\x05", 9);  // fields 100 and 101
  const auto request = ParseSliced(ItemMessage().SerializeAsString() + unknown + part.SerializeAsString(), 1000);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->body, Body::kPart);
  EXPECT_EQ(request->part_offset, 9U);
  EXPECT_EQ(request->payload_bytes, 0U);
}

TEST(ParseStreamRequest, AnEmptyMessageHasNoBody) {
  const auto request = ParseSliced("", 1);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->key, 0U);
  EXPECT_EQ(request->body, Body::kNone);
}

TEST(ParseStreamRequest, RefusesEveryMessageThatIsCutShort) {
  v1::EmbedStreamRequest part;
  part.set_key(300);
  part.mutable_part()->set_offset(1000);
  part.mutable_part()->set_data("data");
  for (const v1::EmbedStreamRequest& message : {ItemMessage(), part}) {
    const std::string bytes = message.SerializeAsString();
    for (size_t size = 1; size < bytes.size(); ++size) {
      const auto request = ParseSliced(bytes.substr(0, size), 3);
      const bool whole_fields = v1::EmbedStreamRequest().ParseFromString(bytes.substr(0, size));
      EXPECT_EQ(request.has_value(), whole_fields) << size;
    }
  }
}

TEST(ParseStreamRequest, RefusesNonsense) {
  for (const std::string bytes : {"\xFF\xFF\xFF", "\x08", "\x12\xFF\xFF\xFF\xFF\x0F", "\x1a\x05\x1a\x09xyz"}) {
    EXPECT_FALSE(ParseSliced(bytes, 2)) << bytes;
  }
}

}  // namespace
}  // namespace vitower
