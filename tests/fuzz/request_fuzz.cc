// A serialised EmbedRequest, from the wire to the plan of each of its items.
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "server/item_check.h"
#include "server/wire_check.h"
#include "tests/fuzz/expect.h"
#include "tests/support/puppet_encoder.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

constexpr int64_t kMaxItems = 16;
constexpr ItemLimits kLimits{/*max_image_pixels=*/1 << 20, /*max_item_patches=*/4096, /*max_video_frames=*/1000,
                             /*max_video_seconds=*/60};

void Run(const uint8_t* data, int size) {
  google::protobuf::io::ArrayInputStream wire(data, size);
  if (CheckWire(wire, kMaxItems)) return;
  v1::EmbedRequest request;
  if (!request.ParseFromArray(data, size)) return;
  Expect(request.items_size() <= kMaxItems, "the limit on items holds");
  static const EncoderInfo info = PuppetInfo();
  for (const v1::Item& item : request.items()) {
    const absl::StatusOr<ItemPlan> plan = CheckItem(item, info, kLimits);
    Expect(FixedReplyBytes(item) > 0, "a refusal takes room too");
    if (IsRefusal(plan)) continue;
    Expect(plan->grid.patches() > 0 && plan->grid.patches() <= kLimits.max_item_patches, "the limit on patches holds");
    Expect(plan->reply_bytes > 0 && plan->decode_bytes >= 0 && plan->clip_bytes >= 0, "sizes are not negative");
  }
}

}  // namespace
}  // namespace vitower

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vitower::Run(data, static_cast<int>(size));
  return 0;
}
