//! Functions as messages: a function of this program is named so that another process of the same
//! executable finds it.
//!
//! Each function that is shipped has a [`Record`] in the executable's read-only data, made by the
//! compiler for its monomorphisation. On the wire it is the distance of that record from an anchor
//! (the same in each process of one executable, wherever it is loaded) together with the function's
//! `type_name`. Before a received distance is believed, [`find`] checks that it leads into data of
//! the executable's own image that nobody can write, that it is aligned, that the magic numbers and
//! the anchor's address stand there, that the record is of the wanted signature, and that its name
//! is the name received. The idea of sending an offset from an anchor is Cloud Haskell's static
//! pointers by way of the crates `mitosis` and `relative`; the checks are our own.
#![expect(
    unsafe_code,
    reason = "reads the executable's own image at checked addresses, and calls functions whose type is gone"
)]

use crate::proto::ids::BuildId;
use crate::proto::message::FunctionRef;
use std::any::{TypeId, type_name};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// A way to call functions: what goes in, what comes out.
pub(crate) trait Signature: 'static {
    /// A number of its own, so that a record of another signature is known at a glance; that the
    /// type is the same is checked besides.
    const SHAPE: u64;
    /// What the function is given.
    type Input<'a>;
    /// What it gives.
    type Output;
}

/// How an `F` is called under signature `S`: the glue between a user's function and the wire.
pub(crate) trait Body<F, S: Signature>: 'static {
    /// The name that it is known by: that of `F`, unless `F` is something that we make of a user's
    /// function.
    fn name() -> &'static str {
        type_name::<F>()
    }

    /// Calls `f`.
    fn run(f: &F, input: S::Input<'_>) -> S::Output;
}

/// The start of every record, the same for all signatures.
#[repr(C)]
struct Header {
    magic: [u64; 2],
    /// The address of [`ANCHOR`]: the loader puts it there, so no bytes that merely look like a
    /// record have it.
    anchor: &'static Anchor,
    shape: u64,
    signature: fn() -> TypeId,
    name: fn() -> &'static str,
}

/// One function as it stands in the executable.
#[repr(C)]
struct Record<S: Signature> {
    header: Header,
    run: fn(S::Input<'_>) -> S::Output,
}

/// How large a record is, and how it is aligned, does not depend on its signature.
const RECORD_BYTES: usize = size_of::<Header>() + size_of::<fn()>();

/// Where distances are counted from.
#[repr(C, align(16))]
struct Anchor([u64; 2]);

const MAGIC: [u64; 2] = [0x7a70_726f_635f_666e, 0x9c1d_52e7_ab03_f864];

static ANCHOR: Anchor = Anchor([!MAGIC[0], !MAGIC[1]]);

/// A function of this program that can be named to other processes of it.
pub(crate) struct Shipped<S: Signature>(&'static Record<S>);

impl<S: Signature> Clone for Shipped<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Signature> Copy for Shipped<S> {}

impl<S: Signature> std::fmt::Debug for Shipped<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shipped").field(&self.name()).finish()
    }
}

/// Makes the record of one monomorphisation.
struct Maker<F, S, B>(PhantomData<(F, S, B)>);

impl<F: Copy + Send, S: Signature, B: Body<F, S>> Maker<F, S, B> {
    /// The reference is what gives the record its place: a constant behind a reference is put in
    /// read-only data, for each `F`, `S` and `B` that the program uses.
    const RECORD: &'static Record<S> = {
        assert!(size_of::<Record<S>>() == RECORD_BYTES);
        assert!(align_of::<Record<S>>() == align_of::<Header>());
        &Record {
            header: Header {
                magic: MAGIC,
                anchor: &ANCHOR,
                shape: S::SHAPE,
                signature: TypeId::of::<S>,
                name: B::name,
            },
            // The compiler may make the record of an F that captures something, too.
            run: match size_of::<F>() {
                0 => Self::run,
                _ => Self::refuse,
            },
        }
    };

    fn refuse(_: S::Input<'_>) -> S::Output {
        panic!("{} captures something: it can't be sent", type_name::<F>())
    }

    fn run(input: S::Input<'_>) -> S::Output {
        // SAFETY: it stands in the record only if an F has no bytes, so a well-aligned address is
        // all that a reference to it needs, besides that an F may exist and may be had here:
        // `try_ship`, without which there is no record of an F, was given one (a reference on the
        // wire comes from no other place), and F is Copy and Send, so another one in another
        // thread, and so in another process, is as good. What lifetime it has is no matter:
        // without bytes it borrows nothing.
        let f = unsafe { NonNull::<F>::dangling().as_ref() };
        B::run(f, input)
    }
}

/// The function `f` as something that can be sent.
///
/// That it captures nothing is checked when it is compiled; `Context::spawn` shows how that looks.
pub(crate) fn ship<F: Copy + Send + 'static, S: Signature, B: Body<F, S>>(f: F) -> Shipped<S> {
    const {
        assert!(
            size_of::<F>() == 0,
            "a function that runs in another process can't capture anything: give it what it needs as its argument"
        );
    }
    try_ship::<F, S, B>(f).expect("it has no bytes, as was asserted")
}

/// The function `f` as something that can be sent, or `None` if it captures something.
pub(crate) fn try_ship<F: Copy + Send, S: Signature, B: Body<F, S>>(f: F) -> Option<Shipped<S>> {
    // Having been given an F is what allows `Maker::run` to make one.
    let _: F = f;
    (size_of::<F>() == 0).then_some(Shipped(Maker::<F, S, B>::RECORD))
}

impl<S: Signature> Shipped<S> {
    /// How it is named on the wire.
    #[must_use]
    pub(crate) fn reference(&self) -> FunctionRef<'static> {
        let record = std::ptr::from_ref(self.0).expose_provenance();
        FunctionRef {
            offset: record.wrapping_sub(anchor_address()) as i64,
            name: self.name(),
        }
    }

    /// The function's path in the source, as `type_name` gives it.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        (self.0.header.name)()
    }

    /// Calls it.
    pub(crate) fn call(&self, input: S::Input<'_>) -> S::Output {
        (self.0.run)(input)
    }
}

/// The function that `reference` names, if this program has it under this signature.
///
/// Any reference may be asked for: one that is wrong, or made up, is `None`.
#[must_use]
pub(crate) fn find<S: Signature>(reference: &FunctionRef<'_>) -> Option<Shipped<S>> {
    let header = header_at(reference.offset)?;
    if header.shape != S::SHAPE
        || (header.signature)() != TypeId::of::<S>()
        || (header.name)() != reference.name
    {
        return None;
    }
    let record = std::ptr::with_exposed_provenance::<Record<S>>(address_of(reference.offset));
    // SAFETY: it is a record (`header_at`), and of this very signature, as its TypeId says.
    Some(Shipped(unsafe { &*record }))
}

/// The name of the function whose record is at this place, under whatever signature.
#[must_use]
pub(crate) fn name_at(offset: i64) -> Option<&'static str> {
    header_at(offset).map(|header| (header.name)())
}

/// The start of the record at this place, if there is one.
fn header_at(offset: i64) -> Option<&'static Header> {
    let address = address_of(offset);
    if !address.is_multiple_of(align_of::<Header>()) || !image().holds(address, RECORD_BYTES) {
        return None;
    }
    let header = std::ptr::with_exposed_provenance::<Header>(address);
    // Only the integers at first: the pointers behind them are looked at when these are right.
    // SAFETY: the address is aligned, and lies with all of a record's bytes in data of the
    // executable that is mapped as long as the process lives and that nobody writes (see
    // `Image::constant`), so it may be read, without a race, as integers, whatever it is.
    let (magic, anchor) = unsafe {
        (
            (&raw const (*header).magic).read(),
            (&raw const (*header).anchor).cast::<usize>().read(),
        )
    };
    if magic != MAGIC || anchor != anchor_address() {
        return None;
    }
    // SAFETY: the magic and the address of the private anchor stand together in constants of the
    // executable where a `Maker::RECORD` was placed and nowhere else, so this is one, of some
    // signature; its header is the same for all of them.
    Some(unsafe { &*header })
}

/// The address of the record that an offset names, if it names one.
fn address_of(offset: i64) -> usize {
    anchor_address().wrapping_add(offset as usize)
}

fn anchor_address() -> usize {
    std::ptr::from_ref(&ANCHOR).expose_provenance()
}

/// The addresses of the executable's own image, not of any shared library.
struct Image {
    /// Readable data that is never written after the program has begun: segments without write
    /// permission, and the part of the writable ones that the loader has sealed after relocating
    /// it (`PT_GNU_RELRO`). Records stand in the one or the other, since they hold addresses.
    constant: Vec<Range<usize>>,
}

impl Image {
    /// Do `size` bytes at `address` lie in one constant range?
    fn holds(&self, address: usize, size: usize) -> bool {
        let Some(end) = address.checked_add(size) else {
            return false;
        };
        self.constant
            .iter()
            .any(|range| range.start <= address && end <= range.end)
    }
}

/// The image is constant for the process's life, so it is looked up once.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut image = Image {
            constant: Vec::new(),
        };
        // SAFETY: the callback gets the very pointer given here, while `image` lives, and does
        // not keep it.
        unsafe {
            libc::dl_iterate_phdr(Some(first_object), (&raw mut image).cast());
        }
        image
    })
}

/// Notes the ranges of the first object, which is the executable itself (`dl_iterate_phdr(3)`; so
/// too where it is linked statically, and then it is the only one), and stops there.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    image: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: `image()` passes its Image, and `dl_iterate_phdr` a valid info, for this call.
    let (info, image) = unsafe { (&*info, &mut *image.cast::<Image>()) };
    // SAFETY: the loader's own table: `dlpi_phnum` headers at `dlpi_phdr`.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let sealed = headers
        .iter()
        .any(|header| header.p_type == libc::PT_GNU_RELRO);
    for header in headers {
        let constant = match header.p_type {
            libc::PT_LOAD => {
                let readable = header.p_flags & libc::PF_R != 0;
                let written = header.p_flags & libc::PF_W != 0;
                // Linked with `-z norelro` the relocated constants lie among the writable data;
                // then that has to do: it is as readable, and the record's checks stand.
                readable && !(written && sealed)
            }
            libc::PT_GNU_RELRO => true,
            _ => false,
        };
        if constant {
            // Addresses wrap where a prelinked executable is loaded below its own idea.
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            if let Some(end) = start.checked_add(header.p_memsz as usize) {
                image.constant.push(start..end);
            }
        }
    }
    1
}

/// The identity of this process's executable: the same file, unchanged, gives the same.
///
/// The file is asked through `/proc/self/exe`, which means the one that runs even when another has
/// taken its place. Where that can't be read, the identity is one that no other process has: then
/// functions are refused rather than mistaken.
#[must_use]
pub fn build_id() -> BuildId {
    static BUILD: OnceLock<BuildId> = OnceLock::new();
    *BUILD.get_or_init(|| {
        use std::hash::{DefaultHasher, Hash, Hasher};
        use std::os::unix::fs::MetadataExt;
        let identity = match std::fs::metadata("/proc/self/exe") {
            Ok(file) => [
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime().cast_unsigned(),
                file.mtime_nsec().cast_unsigned(),
            ],
            Err(_) => [u64::from(std::process::id()); 5],
        };
        // `DefaultHasher::new` has fixed keys, and all who compare run the same executable.
        BuildId([1_u8, 2].map(|half| {
            let mut hasher = DefaultHasher::new();
            (half, identity).hash(&mut hasher);
            hasher.finish()
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Call;
    impl Signature for Call {
        const SHAPE: u64 = 1;
        type Input<'a> = (&'a mut Vec<u32>, u32);
        type Output = u32;
    }

    struct Other;
    impl Signature for Other {
        // The same number on purpose: the type itself must tell them apart.
        const SHAPE: u64 = 1;
        type Input<'a> = u32;
        type Output = u32;
    }

    struct Plain;
    impl<F: Fn(&mut Vec<u32>, u32) -> u32> Body<F, Call> for Plain {
        fn run(f: &F, (list, number): (&mut Vec<u32>, u32)) -> u32 {
            f(list, number)
        }
    }
    impl<F: Fn(u32) -> u32> Body<F, Other> for Plain {
        fn run(f: &F, number: u32) -> u32 {
            f(number)
        }
    }

    fn ship_call<F: Fn(&mut Vec<u32>, u32) -> u32 + Copy + Send + 'static>(f: F) -> Shipped<Call> {
        ship::<F, Call, Plain>(f)
    }

    fn push(list: &mut Vec<u32>, number: u32) -> u32 {
        list.push(number);
        number + 1
    }

    fn generic<const N: u32>(list: &mut Vec<u32>, number: u32) -> u32 {
        list.push(N);
        number + N
    }

    #[test]
    fn functions_closures_and_generics_are_found() {
        let mut list = Vec::new();
        let shipped = [
            ship_call(push),
            ship_call(generic::<7>),
            ship_call(generic::<8>),
            ship_call(|list, number| {
                list.push(99);
                number * 2
            }),
        ];
        let results = shipped.map(|shipped| {
            let found = find::<Call>(&shipped.reference()).expect("it was just shipped");
            assert_eq!(found.name(), shipped.name());
            found.call((&mut list, 10))
        });
        let offset = shipped[1].reference().offset;
        assert_eq!(name_at(offset), Some(shipped[1].name()));
        assert_eq!(name_at(offset + 1), None);
        assert_eq!(results, [11, 17, 18, 20]);
        assert_eq!(list, [10, 7, 8, 99]);
    }

    #[test]
    fn what_captures_is_not_shipped_and_its_record_can_not_be_called() {
        let more = 3;
        let captures = |_: &mut Vec<u32>, number| number + more;
        assert!(try_ship::<_, Call, Plain>(captures).is_none());
        fn record_of<F: Fn(&mut Vec<u32>, u32) -> u32 + Copy + Send>(_: F) -> Shipped<Call> {
            Shipped(Maker::<F, Call, Plain>::RECORD)
        }
        let record = record_of(captures);
        let called = std::panic::catch_unwind(|| record.call((&mut Vec::new(), 1)));
        assert!(called.is_err());
        // Without captures a borrowed lifetime in the type does not matter.
        assert!(try_ship::<_, Call, Plain>(push).is_some());
    }

    #[test]
    fn a_record_of_another_signature_is_refused() {
        let shipped = ship_call(push);
        assert!(find::<Other>(&shipped.reference()).is_none());
        let shipped = ship::<_, Other, Plain>(|number: u32| number);
        assert!(find::<Call>(&shipped.reference()).is_none());
        assert!(find::<Other>(&shipped.reference()).is_some());
    }

    #[test]
    fn another_name_is_refused() {
        let mut reference = ship_call(push).reference();
        reference.name = "some::other";
        assert!(find::<Call>(&reference).is_none());
    }

    #[test]
    fn made_up_offsets_are_refused() {
        let good = ship_call(push).reference();
        let near = (-4096..4096_i64).filter(|distance| *distance != 0);
        let far = (0..64).flat_map(|bit| [1_i64 << bit, (1_i64 << bit).wrapping_neg()]);
        let ends = [i64::MIN, i64::MAX, good.offset.wrapping_neg()];
        // Every place in the image, too: records of other functions have other names.
        for offset in near
            .map(|distance| good.offset.wrapping_add(distance))
            .chain(far)
            .chain(ends)
            .chain((-40_000_000..40_000_000).step_by(8))
            .filter(|offset| *offset != good.offset)
        {
            let found = find::<Call>(&FunctionRef { offset, ..good });
            // The compiler may have made more than one record of the same function.
            assert!(found.is_none_or(|found| found.name() == good.name));
        }
    }

    #[test]
    fn writable_copies_of_a_record_are_refused() {
        static mut COPY: [u64; 16] = [0; 16];
        let shipped = ship_call(push);
        let size = size_of::<Record<Call>>();
        // SAFETY: COPY is used by this test alone, and is larger than a record.
        let address = unsafe {
            assert!(size <= size_of::<[u64; 16]>());
            let copy = (&raw mut COPY).cast::<u8>();
            std::ptr::from_ref(shipped.0)
                .cast::<u8>()
                .copy_to_nonoverlapping(copy, size);
            copy.expose_provenance()
        };
        let reference = FunctionRef {
            offset: address.wrapping_sub(anchor_address()) as i64,
            ..shipped.reference()
        };
        assert!(find::<Call>(&reference).is_none());
    }

    #[test]
    fn the_build_is_the_same_twice() {
        assert_eq!(build_id(), build_id());
    }
}
