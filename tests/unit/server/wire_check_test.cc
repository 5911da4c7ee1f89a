#include "server/wire_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <string>

#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

using testing::HasSubstr;

std::optional<Refusal> Check(const std::string& bytes, int64_t max_items) {
  google::protobuf::io::ArrayInputStream in(bytes.data(), static_cast<int>(bytes.size()), /*block_size=*/7);
  return CheckWire(in, max_items);
}

std::string Repeated(const std::string& part, int times) {
  std::string bytes;
  for (int i = 0; i < times; ++i) bytes += part;
  return bytes;
}

// A field of less than 16 KiB.
std::string Delimited(int number, const std::string& content) {
  std::string bytes;
  for (const size_t byte : {static_cast<size_t>(number * 8 + 2), content.size() % 128 + 128, content.size() / 128}) {
    bytes += static_cast<char>(byte);
  }
  return bytes + content;
}

v1::Item FullItem() {
  v1::Item item;
  item.set_id("one");
  item.set_image(std::string(5000, '\x0a'));
  item.mutable_preprocessing()->set_min_pixels(1);
  item.mutable_preprocessing()->set_do_resize(true);
  item.mutable_preprocessing()->mutable_background()->set_red(9);
  for (uint32_t level = 0; level < 24; ++level) item.mutable_outputs()->add_deepstack_levels(level);
  item.set_priority(v1::PRIORITY_LOW);
  return item;
}

TEST(CheckWire, LetsRequestsWithinTheLimitPass) {
  v1::EmbedRequest request;
  EXPECT_FALSE(Check(request.SerializeAsString(), 2));
  for (int i = 0; i < 2; ++i) *request.add_items() = FullItem();
  EXPECT_FALSE(Check(request.SerializeAsString(), 2));
}

TEST(CheckWire, RefusesTooManyItemsWithTheNumbers) {
  const auto refusal = Check(Repeated(std::string("\x0a\x00", 2), 2'000'000), 1024);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->fault, Fault::kTooManyItems);
  EXPECT_EQ(refusal->message, "the request has 2000000 items, above the limit of 1024 (--max-request-items)");
}

TEST(CheckWire, RefusesTooManyFieldsHoweverDeepTheyAre) {
  const std::string many_frames = Repeated(std::string("\x0a\x00", 2), 1000);
  const std::string many_levels(1000, '\x01');
  const std::string packed = Delimited(2, many_levels);
  const std::string unknown = Repeated("\x78\x01", 1000);
  for (const std::string& bytes : {Delimited(4, many_frames), Delimited(8, packed), Delimited(7, unknown)}) {
    const auto refusal = Check(Delimited(1, bytes), 2);
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->fault, Fault::kTooManyItems);
    EXPECT_THAT(refusal->message, HasSubstr("fields, above the limit of 128, which is 64 for each"));
  }
}

TEST(CheckWire, RefusesGroupsAndWhatIsCutOff) {
  EXPECT_EQ(Check("\x7b\x7c", 2)->fault, Fault::kMalformed);  // a group
  EXPECT_EQ(Check("\x0a\x05hell", 2)->fault, Fault::kMalformed);
  EXPECT_EQ(Check("\x0a\x03\x12\x7f\x01", 2)->fault, Fault::kMalformed);  // an image longer than its item
  EXPECT_EQ(Check("\xFF\xFF\xFF not protobuf", 2)->fault, Fault::kMalformed);
}

}  // namespace
}  // namespace vitower
