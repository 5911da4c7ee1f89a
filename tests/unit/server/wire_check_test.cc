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

// A field of less than 2 MiB.
std::string Delimited(int number, const std::string& content) {
  std::string bytes;
  for (const size_t byte : {static_cast<size_t>(number * 8 + 2), content.size() % 128 + 128,
                            content.size() / 128 % 128 + 128, content.size() / 128 / 128}) {
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

// More than 64 for each of 2 items and 16,384 for frames, at two bytes each or one.
TEST(CheckWire, RefusesTooManyFieldsHoweverDeepTheyAre) {
  const std::string many_images = Repeated(std::string("\x0a\x00", 2), 20'000);
  const std::string packed = Delimited(2, std::string(20'000, '\x01'));
  const std::string unknown = Repeated("\x78\x01", 20'000);
  const std::string background = Delimited(5, unknown);
  for (const std::string& bytes : {Delimited(4, many_images), Delimited(8, packed), Delimited(7, background),
                                   Delimited(3, Delimited(2, unknown))}) {
    const auto refusal = Check(Delimited(1, bytes), 2);
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->fault, Fault::kTooManyItems);
    EXPECT_THAT(refusal->message,
                HasSubstr("fields, above the limit of 16512, which is 16384 and 64 for each of --max-request-items"));
  }
}

TEST(CheckWire, RefusesAFrameListOfAMillionEmptyImages) {
  v1::EmbedRequest request;
  v1::FrameList& list = *request.add_items()->mutable_frames();
  for (int i = 0; i < 1'000'000; ++i) list.add_images();
  const std::string bytes = request.SerializeAsString();
  EXPECT_THAT(Check(bytes, 1024)->message, HasSubstr("1000002 fields, above the limit of 81920"));
  google::protobuf::io::ArrayInputStream item(bytes.data(), static_cast<int>(bytes.size()));
  item.Skip(4);  // the item's tag and length
  EXPECT_THAT(CheckItemWire(item)->message, HasSubstr("1000001 fields, above the limit of 16448"));
}

TEST(CheckWire, LetsALongFrameListPass) {
  v1::EmbedRequest request;
  v1::FrameList& list = *request.add_items()->mutable_frames();
  for (int i = 0; i < 10'000; ++i) list.add_images("some image");
  list.mutable_sampling()->set_num_frames(100);
  EXPECT_FALSE(Check(request.SerializeAsString(), 1));
  const std::string bytes = request.items(0).SerializeAsString();
  google::protobuf::io::ArrayInputStream item(bytes.data(), static_cast<int>(bytes.size()));
  EXPECT_FALSE(CheckItemWire(item));
}

TEST(CheckWire, RefusesGroupsAndWhatIsCutOff) {
  EXPECT_EQ(Check("\x7b\x7c", 2)->fault, Fault::kMalformed);  // a group
  EXPECT_EQ(Check("\x0a\x05hell", 2)->fault, Fault::kMalformed);
  EXPECT_EQ(Check("\x0a\x03\x12\x7f\x01", 2)->fault, Fault::kMalformed);  // an image longer than its item
  EXPECT_EQ(Check("\xFF\xFF\xFF not protobuf", 2)->fault, Fault::kMalformed);
}

}  // namespace
}  // namespace vitower
